#![no_main]

#[path = "../../crates/evidence/tests/it/fuzz/mod.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::run("receipt", bytes);
});
