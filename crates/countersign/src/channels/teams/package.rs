//! The app package with which Teams knows the bot of a gateway.
//!
//! In scope: everything Teams needs to install the bot, in one file to upload.
//! Out of scope: registering the bot; a person does, at Microsoft.
//! Invariant: it asks for what is used and no more; the same arguments make the same bytes.
//! Specification: <https://learn.microsoft.com/microsoft-365/extensibility/schema/>

use std::io::{Cursor, Write};

use anyhow::Context;
use serde_json::{Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// 192 by 192, in colour.
const COLOR: &[u8] = include_bytes!("icons/color.png");
/// 32 by 32, white on nothing.
const OUTLINE: &[u8] = include_bytes!("icons/outline.png");

/// The manifest of the app of a bot, for a gateway at `url`.
pub(crate) fn manifest(url: &str, app: &str) -> Value {
    let commands = json!([
        { "title": "inbox", "description": "What waits for your signature" },
        { "title": "link", "description": "Link this account with a code from the console" },
        { "title": "help", "description": "What I understand, and how rules tell this place" },
    ]);
    let scopes = json!(["personal", "team", "groupChat"]);
    json!({
        "$schema": "https://developer.microsoft.com/en-us/json-schemas/teams/v1.19/MicrosoftTeams.schema.json",
        "manifestVersion": "1.19",
        "version": env!("CARGO_PKG_VERSION"),
        "id": app,
        "developer": {
            "name": "Countersign",
            "websiteUrl": url,
            "privacyUrl": url,
            "termsOfUseUrl": url,
        },
        "name": { "short": "Countersign", "full": "Countersign" },
        "description": {
            "short": "Countersign what agents and pipelines are about to do",
            "full": "Requests that wait for a countersignature, as cards: approve, deny, ask and comment \
                     where you talk. Who has linked their account in the console decides; what needs \
                     more than a click opens there.",
        },
        "icons": { "color": "color.png", "outline": "outline.png" },
        "accentColor": "#1F4E79",
        "bots": [{
            "botId": app,
            "scopes": scopes,
            "supportsFiles": false,
            "isNotificationOnly": false,
            "commandLists": [{ "scopes": scopes, "commands": commands }],
        }],
        "validDomains": [],
    })
}

/// The package with a manifest.
///
/// # Errors
/// It can't be put together.
pub(crate) fn package(manifest: &Value) -> anyhow::Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(manifest)?;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let files = [
        ("manifest.json", text.as_slice()),
        ("color.png", COLOR),
        ("outline.png", OUTLINE),
    ];
    for (name, bytes) in files {
        zip.start_file(name, stored)?;
        zip.write_all(bytes)?;
    }
    let done = zip.finish().context("the package can't be put together")?;
    Ok(done.into_inner())
}
