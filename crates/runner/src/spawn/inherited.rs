//! Open files that the runner itself was started with.
//!
//! In scope: closing them before any command could get them.
//! Out of scope: what this process opens; Rust marks all of that to be closed on execution.
//! Invariant: none beyond standard input, output and error passes from whoever started the
//! gateway to a command, if this is called first.

use std::fs;
use std::io;

use nix::fcntl::OFlag;

/// Closes every descriptor above 2 that a command would inherit; returns how many there were.
///
/// Call it first of all in `main`, once: a descriptor without close-on-exec can only be one that
/// was passed to this process as long as nothing else has opened any.
///
/// # Errors
/// What the system answers, for instance when `/proc` is not mounted.
pub fn close_inherited() -> io::Result<usize> {
    let mut inherited = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if number > 2 && stays_open(number) {
            inherited.push(number);
        }
    }
    let found = inherited.len();
    for number in inherited {
        nix::unistd::close(number)?;
    }
    Ok(found)
}

/// Whether an executed program would get descriptor `number`.
fn stays_open(number: i32) -> bool {
    // Gone already: the one that lists the directory.
    let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
        return false;
    };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .unwrap_or(0);
    flags & OFlag::O_CLOEXEC.bits() == 0
}
