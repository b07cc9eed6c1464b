//! Tests of the repository itself; there is nothing else in here.
//!
//! In scope: what a reader relies on and no compiler checks: the direction of dependencies, where
//! sockets, processes, clocks and files may occur, that documents name what exists and commands
//! that parse.
//! Out of scope: formatting and lints, which their own tools check.
//! Invariant: standard library only, so that it runs before anything else is built.
