//! The manifest of a Slack app for a gateway.
//!
//! In scope: everything Slack needs to make the app, in one text to paste.
//! Out of scope: making it; a person does, in Slack.
//! Invariant: it asks for what is used and no more.
//! Specification: <https://docs.slack.dev/reference/app-manifest/>

use serde_json::{Value, json};

use super::COMMAND;

/// What the app may do: write messages, open a conversation with somebody, read its own threads.
const SCOPES: [&str; 6] = [
    "chat:write",
    "commands",
    "im:write",
    "im:history",
    "channels:history",
    "groups:history",
];

/// The manifest for the channel `name` of a gateway at `url`. With `socket`, Slack is reached over a
/// socket that the gateway opens, and the gateway needs no address that Slack can reach.
pub(crate) fn manifest(url: &str, name: &str, socket: bool) -> Value {
    let address = format!("{url}/channels/{name}");
    let reached = |mut value: Value, key: &str| {
        if let Some(fields) = value.as_object_mut().filter(|_| !socket) {
            fields.insert(key.into(), json!(address));
        }
        value
    };
    let command = json!({
        "command": COMMAND,
        "description": "What waits for your signature",
        "usage_hint": "[inbox | link CODE]",
        "should_escape": false,
    });
    let events = json!({ "bot_events": ["message.channels", "message.groups", "message.im"] });
    json!({
        "_metadata": { "major_version": 2, "minor_version": 1 },
        "display_information": {
            "name": "Countersign",
            "description": "Countersign what agents and pipelines are about to do",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": false,
                "messages_tab_enabled": true,
                "messages_tab_read_only_enabled": false,
            },
            "bot_user": { "display_name": "Countersign", "always_online": true },
            "slash_commands": [reached(command, "url")],
        },
        "oauth_config": { "scopes": { "bot": SCOPES } },
        "settings": {
            "event_subscriptions": reached(events, "request_url"),
            "interactivity": reached(json!({ "is_enabled": true }), "request_url"),
            "org_deploy_enabled": false,
            "socket_mode_enabled": socket,
            "token_rotation_enabled": false,
        },
    })
}
