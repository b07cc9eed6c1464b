//! What is told to other systems: at least once, in order, no more than allowed; and that nothing
//! else depends on it.

mod collector;
mod file;
mod killed;
mod metrics;
mod otlp;
mod receiver;
mod secure;
mod webhook;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::support::{Lab, Place, until};
use receiver::{Receiver, SECRET};

/// Adds a table to the main file.
fn add(files: &mut BTreeMap<String, String>, table: &str) {
    let config = files.get_mut("countersign.toml").unwrap();
    config.push_str(table);
}

/// The table of a webhook to a receiver, with more keys.
fn webhook(receiver: &Receiver, more: &str) -> String {
    format!(
        "\n[stream.hook]\nkind = \"webhook\"\nstart = \"beginning\"\n\
         url = \"http://{}/in\"\nsecret = {{ file = \"hook.key\" }}\n{more}\n",
        receiver.address
    )
}

/// The table of a file, with more keys.
fn ocsf(path: &Path, more: &str) -> String {
    format!(
        "\n[stream.siem]\nkind = \"ocsf\"\nstart = \"beginning\"\npath = {:?}\n{more}\n",
        path.to_str().unwrap()
    )
}

/// Files with a table, and the secret beside them.
fn place(table: &str) -> Place {
    let place = Place::new(|files| add(files, table));
    let key = place.config().join("hook.key");
    fs::write(&key, SECRET).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place
}

async fn lab(table: &str) -> Lab {
    Lab::at(place(table)).await
}

/// How a stream stands.
async fn standing(lab: &Lab, name: &str) -> Value {
    let ada = lab.session("ada").await;
    let list = ada.get("/v1/streams").await.expect(200);
    let all = list.body["streams"].as_array().unwrap();
    let found = all.iter().find(|one| one["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits until a stream stands like that.
async fn stands(lab: &Lab, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    // One session, so that waiting records nothing that the stream would have to deliver.
    let ada = lab.session("ada").await;
    let last = std::sync::Mutex::new(Value::Null);
    until(what, async || {
        let list = ada.get("/v1/streams").await.expect(200);
        let all = list.body["streams"].as_array().unwrap();
        let found = all.iter().find(|one| one["name"] == name).cloned();
        let found = found.unwrap_or_default();
        let good = holds(&found);
        *last.lock().unwrap() = found;
        good
    })
    .await;
    last.into_inner().unwrap()
}
