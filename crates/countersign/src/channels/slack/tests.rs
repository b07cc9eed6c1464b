//! What is read of what Slack sends, and what is nobody's.

use countersign_policy::{Slack, channel::Reached, target::exec::CredentialSource};
use serde_json::{Value, json};

use super::{
    card::escaped,
    incoming::{Incoming, Read, command, event, interaction},
    manifest::manifest,
};
use countersign_core::time::Span;

fn slack(enterprise: Option<&str>) -> Slack {
    let secret = CredentialSource::Env("X".into());
    Slack {
        team: "T1A".into(),
        enterprise: enterprise.map(Into::into),
        app: "A1A".into(),
        bot_token: secret.clone(),
        reached: Reached::Signed(secret),
        signed_in_within: Span::minutes(1),
        api: "https://slack.com/api".into(),
    }
}

fn click() -> Value {
    json!({
        "type": "block_actions",
        "api_app_id": "A1A",
        "trigger_id": "1.2.3",
        "team": { "id": "T1A" },
        "user": { "id": "U1", "team_id": "T1A", "username": "dana" },
        "channel": { "id": "C1" },
        "actions": [{ "action_id": "approve", "value": "req:digest" }],
    })
}

fn said() -> Value {
    json!({
        "type": "event_callback",
        "api_app_id": "A1A",
        "team_id": "T1A",
        "event": {
            "type": "message", "user": "U1", "channel": "C1", "team": "T1A",
            "ts": "2.0", "thread_ts": "1.0", "text": "a &amp;lt; &lt;b&gt;",
        },
    })
}

/// A value with something else at a path; `null` takes it away.
fn with(mut value: Value, path: &str, other: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let fields = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match other {
        Value::Null => drop(fields.remove(key)),
        other => drop(fields.insert(key.into(), other)),
    }
    value
}

#[test]
fn a_click_is_of_one_account_of_the_workspace() {
    let Read::Act(incoming, once) = interaction(&slack(None), &click()) else {
        panic!("a click is not read")
    };
    assert_eq!(once, "1.2.3 approve");
    let Incoming::Button {
        who, verb, value, ..
    } = *incoming
    else {
        panic!("a click is something else")
    };
    assert_eq!(
        (who.user.as_str(), who.channel.as_deref()),
        ("U1", Some("C1"))
    );
    assert_eq!((verb.as_str(), value.as_str()), ("approve", "req:digest"));
    for (path, other) in [
        ("/api_app_id", json!("A2")),
        ("/api_app_id", Value::Null),
        ("/team/id", json!("T2")),
        ("/team/id", Value::Null),
        ("/team", Value::Null),
        ("/user/team_id", json!("T2")),
        ("/user/id", Value::Null),
        ("/user/id", json!("")),
        ("/user/id", json!(["U1"])),
        ("/enterprise", json!({ "id": "E1" })),
        ("/actions", json!([])),
        (
            "/actions",
            json!([{ "action_id": "a", "value": "b" }, { "action_id": "c", "value": "d" }]),
        ),
    ] {
        let read = interaction(&slack(None), &with(click(), path, other.clone()));
        assert!(matches!(read, Read::Foreign(_)), "{path} {other}: {read:?}");
    }
    for (path, other) in [("/type", json!("shortcut")), ("/trigger_id", Value::Null)] {
        let read = interaction(&slack(None), &with(click(), path, other.clone()));
        assert_eq!(read, Read::Nothing, "{path} {other}");
    }
}

#[test]
fn an_organisation_is_pinned() {
    let in_grid = |org: &str| with(click(), "/enterprise", json!({ "id": org }));
    let ours = slack(Some("E1"));
    assert!(matches!(interaction(&ours, &in_grid("E1")), Read::Act(..)));
    assert!(matches!(
        interaction(&ours, &in_grid("E2")),
        Read::Foreign(_)
    ));
    assert!(matches!(interaction(&ours, &click()), Read::Foreign(_)));
}

#[test]
fn only_messages_of_people_in_threads_are_read() {
    let Read::Act(incoming, once) = event(&slack(None), &said()) else {
        panic!("a message is not read")
    };
    assert_eq!(once, "C1 2.0");
    let Incoming::Said { text, thread, .. } = *incoming else {
        panic!("a message is something else")
    };
    assert_eq!((text.as_str(), thread.as_str()), ("a &lt; <b>", "1.0"));
    for (path, other) in [
        ("/event/bot_id", json!("B1")),
        ("/event/subtype", json!("message_changed")),
        ("/event/thread_ts", Value::Null),
        ("/event/user", Value::Null),
        ("/event/type", json!("app_mention")),
    ] {
        let read = event(&slack(None), &with(said(), path, other.clone()));
        assert_eq!(read, Read::Nothing, "{path} {other}");
    }
    for path in [
        "/event/team",
        "/event/user_team",
        "/event/source_team",
        "/team_id",
    ] {
        let read = event(&slack(None), &with(said(), path, json!("T2")));
        assert!(matches!(read, Read::Foreign(_)), "{path}");
    }
    let challenge = json!({ "type": "url_verification", "challenge": "x" });
    assert_eq!(event(&slack(None), &challenge), Read::Challenge("x".into()));
}

#[test]
fn a_command_is_of_one_account_of_the_workspace() {
    let good = json!({
        "api_app_id": "A1A", "team_id": "T1A", "user_id": "U1", "trigger_id": "9",
        "text": " link ABCD ", "channel_id": "C1",
    });
    let Read::Act(incoming, _) = command(&slack(None), &good) else {
        panic!("a command is not read")
    };
    assert!(matches!(*incoming, Incoming::Command { text, .. } if text == "link ABCD"));
    for path in ["/api_app_id", "/team_id", "/user_id", "/trigger_id"] {
        let read = command(&slack(None), &with(good.clone(), path, Value::Null));
        assert!(matches!(read, Read::Foreign(_)), "{path}");
    }
    let read = command(&slack(None), &with(good, "/enterprise_id", json!("E1")));
    assert!(matches!(read, Read::Foreign(_)));
}

#[test]
fn nothing_in_a_notification_is_markup() {
    assert_eq!(
        escaped("<!here> & <https://x|y>"),
        "&lt;!here&gt; &amp; &lt;https://x|y&gt;"
    );
}

#[test]
fn the_manifest_names_the_gateway_only_where_slack_posts_to_it() {
    let posted = manifest("https://cs.example.com", "slack", false);
    let address = json!("https://cs.example.com/channels/slack");
    for path in [
        "/features/slash_commands/0/url",
        "/settings/interactivity/request_url",
        "/settings/event_subscriptions/request_url",
    ] {
        assert_eq!(posted.pointer(path), Some(&address), "{path}");
    }
    let socket = manifest("", "slack", true).to_string();
    assert!(
        !socket.contains("request_url") && !socket.contains("\"url\""),
        "{socket}"
    );
}
