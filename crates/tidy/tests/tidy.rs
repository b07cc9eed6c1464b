//! Tests of the repository itself, in one binary.

#[cfg(test)]
mod tidy {
    mod commands;
    mod dependencies;
    mod documents;
    mod repository;
    mod sources;
}
