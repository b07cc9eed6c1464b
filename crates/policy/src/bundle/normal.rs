//! The form of a bundle that is hashed.
//!
//! In scope: `SHA-256` over all files, with the main file as data and without what is local.
//! Out of scope: checking the files.
//! Invariant: two bundles that can decide differently have different hashes.

use std::collections::BTreeMap;

use countersign_core::canonical::{Hash, hash_in_domain};
use serde_json::{Map, Value};

use super::config::MAIN_FILE;

/// Tables that concern this machine alone.
const LOCAL_TABLES: [&str; 2] = ["server", "store"];

/// The hash; `None` when the main file cannot be read.
pub(super) fn hash(files: &BTreeMap<String, String>) -> Option<Hash> {
    let mut normal = Map::new();
    for (path, text) in files {
        let value = if path == MAIN_FILE {
            let mut table: toml::Table = text.parse().ok()?;
            LOCAL_TABLES
                .iter()
                .for_each(|name| drop(table.remove(*name)));
            Value::Object(
                table
                    .into_iter()
                    .map(|(key, value)| (key, normal_value(value)))
                    .collect(),
            )
        } else {
            Value::from(text.as_str())
        };
        normal.insert(path.clone(), value);
    }
    hash_in_domain("bundle", &normal).ok()
}

/// Numbers become tagged texts, because canonical JSON holds whole numbers only up to 2^53.
fn normal_value(value: toml::Value) -> Value {
    let tagged =
        |kind: &str, text: String| Value::Array(vec![Value::from(kind), Value::from(text)]);
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Boolean(flag) => Value::from(flag),
        toml::Value::Integer(number) => tagged("integer", number.to_string()),
        toml::Value::Float(number) => tagged("float", number.to_string()),
        toml::Value::Datetime(moment) => tagged("datetime", moment.to_string()),
        toml::Value::Array(items) => {
            let items = items.into_iter().map(normal_value).collect();
            Value::Object(Map::from_iter([("list".to_owned(), Value::Array(items))]))
        }
        toml::Value::Table(table) => {
            let map = table
                .into_iter()
                .map(|(key, value)| (key, normal_value(value)))
                .collect();
            Value::Object(Map::from_iter([("table".to_owned(), Value::Object(map))]))
        }
    }
}
