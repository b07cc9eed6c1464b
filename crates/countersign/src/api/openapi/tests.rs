//! The document against the routers, its own references, and its kept copy.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::*;

/// The kept copy, relative to this crate.
const KEPT: &str = "../../docs/openapi.json";

/// `(path, method)` of every `.route("PATH", METHOD(…))` in a router's source.
fn served(source: &str) -> BTreeSet<(String, String)> {
    // However the formatter breaks the lines.
    let words = source.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .split(".route(")
        .skip(1)
        .map(|route| {
            let (path, rest) = route
                .trim()
                .strip_prefix('"')
                .unwrap()
                .split_once("\", ")
                .unwrap();
            let (method, _) = rest.split_once('(').unwrap();
            // OpenAPI has no word for a parameter with slashes in it.
            (path.replace("{*", "{"), method.to_owned())
        })
        .collect()
}

#[test]
fn every_route_has_its_line_and_every_line_its_route() {
    let routes = served(include_str!("../mod.rs"));
    let routes: BTreeSet<_> = routes
        .into_iter()
        .chain(served(include_str!("../authzen/mod.rs")))
        .collect();
    let lines = ROUTES.iter().map(|route| {
        (
            route.path.to_owned(),
            format!("{:?}", route.method).to_lowercase(),
        )
    });
    let lines: BTreeSet<_> = lines.collect();
    assert_eq!(lines.len(), ROUTES.len());
    assert_eq!(lines, routes);
    let names: BTreeSet<_> = ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(names.len(), ROUTES.len());
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                found.insert(to.to_owned());
            }
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(&text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_kept_copy_is_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let made = text();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/openapi.json is not what the code describes; look at the difference after \
         `UPDATE_SNAPSHOTS=1 cargo test -p countersign --lib api::openapi`"
    );
}
