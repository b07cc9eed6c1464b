//! Tests of the repository itself, in one binary.

mod tidy {
    mod commands;
    mod dependencies;
    mod documents;
    mod repository;
    mod sources;
}
