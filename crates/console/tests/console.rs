//! The console's pages as a browser receives them.

#[path = "../samples/mod.rs"]
mod samples;

mod console {
    mod escaping;
    mod files;
    mod hostile;
    mod markup;
    mod pages;
}
