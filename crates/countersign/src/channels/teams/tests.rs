//! What is read of what Teams sends, what is nobody's, and what cards and the package hold.

use std::io::{Cursor, Read as _};

use countersign_core::time::Span;
use countersign_policy::{Teams, target::exec::CredentialSource};
use serde_json::{Value, json};

use super::{
    card,
    incoming::{Incoming, Place, Read, read},
    is_about, package,
    sending::is_channel,
    token::Proven,
};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const DANA: &str = "00000000-0000-4000-8000-0000000000d1";

fn teams() -> Teams {
    Teams {
        tenant: TENANT.into(),
        app: APP.into(),
        secret: CredentialSource::Env("X".into()),
        signed_in_within: Span::minutes(1),
        issuer: "https://api.botframework.com".into(),
        metadata: "https://login.botframework.com/v1/.well-known/openidconfiguration".into(),
        token: "https://login.microsoftonline.com/x/oauth2/v2.0/token".into(),
        service: "https://smba.trafficmanager.net/teams".into(),
    }
}

fn activity(kind: &str) -> Value {
    json!({
        "type": kind,
        "id": "f:1",
        "timestamp": "2026-11-21T22:00:00.123Z",
        "channelId": "msteams",
        "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "from": { "id": "29:x", "name": "Dana", "aadObjectId": DANA },
        "recipient": { "id": format!("28:{APP}"), "name": "Countersign" },
        "conversation": { "id": "19:a@thread.tacv2;messageid=7", "tenantId": TENANT },
        "channelData": { "tenant": { "id": TENANT } },
    })
}

fn click() -> Value {
    let mut click = activity("invoke");
    click["name"] = json!("adaptiveCard/action");
    click["value"] = json!({ "action": {
        "type": "Action.Execute", "verb": "deny",
        "data": { "request": "req:digest", "deny_words": "no", "ask_words": "why?" },
    } });
    click
}

fn said(text: &str) -> Value {
    let mut said = activity("message");
    said["text"] = json!(text);
    said["entities"] = json!([{
        "type": "mention", "text": "<at>Countersign</at>", "mentioned": { "id": format!("28:{APP}") },
    }]);
    said
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
fn a_click_is_of_one_account_of_the_tenant() {
    let Read::Act(incoming, once, seconds) = read(&teams(), &click()) else {
        panic!("a click is not read")
    };
    assert_eq!(once, "19:a@thread.tacv2;messageid=7 f:1");
    assert_eq!(seconds, 1_795_298_400);
    let Incoming::Click { who, click: one } = *incoming else {
        panic!("a click is something else")
    };
    assert_eq!((who.user.as_str(), who.called.as_str()), (DANA, "Dana"));
    assert_eq!(
        (one.verb.as_str(), one.value.as_str(), one.words.as_str()),
        ("deny", "req:digest", "no")
    );
    let other = json!("11111111-2222-3333-4444-666666666666");
    for (path, other) in [
        ("/channelData/tenant/id", other.clone()),
        ("/conversation/tenantId", other.clone()),
        ("/from/tenantId", other),
        ("/from/aadObjectId", Value::Null),
        ("/from/aadObjectId", json!("dana@example.com")),
        (
            "/from/aadObjectId",
            json!(["00000000-0000-4000-8000-0000000000d1"]),
        ),
        ("/id", Value::Null),
        ("/id", json!("x".repeat(600))),
        ("/timestamp", Value::Null),
        ("/timestamp", json!("soon")),
        ("/conversation/id", Value::Null),
    ] {
        let read = read(&teams(), &with(click(), path, other.clone()));
        assert!(matches!(read, Read::Foreign(_)), "{path} {other}: {read:?}");
    }
    let nowhere = with(click(), "/channelData/tenant", Value::Null);
    let nowhere = with(nowhere, "/conversation/tenantId", Value::Null);
    assert!(matches!(read(&teams(), &nowhere), Read::Foreign(_)));
    for (path, other) in [
        ("/name", json!("composeExtension/query")),
        ("/type", json!("event")),
        ("/value/action/verb", Value::Null),
        ("/value/action/data", Value::Null),
        ("/value/action/data/request", Value::Null),
    ] {
        let read = read(&teams(), &with(click(), path, other.clone()));
        assert_eq!(read, Read::Nothing, "{path} {other}");
    }
}

#[test]
fn what_is_written_to_the_bot_is_read_without_its_name() {
    for (text, expected) in [
        ("<at>Countersign</at> inbox", "inbox"),
        ("<at>Countersign</at>&nbsp;link ABCD\n", "link ABCD"),
        ("inbox", "inbox"),
        ("<at>Dana</at> look", "<at>Dana</at> look"),
    ] {
        let Read::Act(incoming, ..) = read(&teams(), &said(text)) else {
            panic!("a message is not read")
        };
        let Incoming::Said { text, place, .. } = *incoming else {
            panic!("a message is something else")
        };
        assert_eq!(text, expected);
        let expected = Place {
            conversation: "19:a@thread.tacv2;messageid=7".into(),
            personal: false,
            message: "f:1".into(),
        };
        assert_eq!(place, expected);
    }
    // What clients send that know no `Action.Execute`.
    let mut submit = said("");
    submit["value"] = json!({ "verb": "comment", "request": "r:d", "comment_words": "hm" });
    assert!(matches!(read(&teams(), &submit), Read::Act(incoming, ..)
            if matches!(&*incoming, Incoming::Submit { click, .. } if click.words == "hm")));
}

#[test]
fn a_token_is_about_one_activity() {
    let proven = Proven {
        service: "https://smba.trafficmanager.net/emea/".into(),
        endorsements: vec!["msteams".into(), "webchat".into()],
    };
    assert!(is_about(&proven, &click()).is_ok());
    for (path, other) in [
        ("/channelId", json!("webchat")),
        ("/channelId", Value::Null),
        ("/serviceUrl", json!("https://smba.trafficmanager.net/emea")),
        ("/serviceUrl", json!("https://evil.example/")),
        ("/serviceUrl", Value::Null),
    ] {
        let about = is_about(&proven, &with(click(), path, other.clone()));
        assert!(about.is_err(), "{path} {other}");
    }
    let endorsements = vec!["webchat".into()];
    let other = Proven {
        endorsements,
        ..proven
    };
    assert!(is_about(&other, &click()).is_err());
}

#[test]
fn channels_are_told_from_chats() {
    for (id, expected) in [
        ("19:a@thread.tacv2", true),
        ("19:a@thread.skype", true),
        ("19:a@thread.v2", false),
        ("a:1", false),
        ("19:a@unq.gbl.spaces", false),
    ] {
        assert_eq!(is_channel(id), expected, "{id}");
    }
}

#[test]
fn nothing_that_is_shown_is_filled_in_or_left_out() {
    let text = "  a   b {{DATE(2026-11-21T22:00:00Z)}} {{{x}}} **c** [d](https://e)\n\nend";
    let card = card::told(text);
    let lines: Vec<String> = card["body"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let runs = line["inlines"].as_array().unwrap();
            assert_eq!(line["type"], "RichTextBlock");
            let texts = runs.iter().map(|run| {
                assert_eq!(run["type"], "TextRun");
                let text = run["text"].as_str().unwrap();
                assert!(!text.contains("{{"), "{text}");
                text
            });
            texts.collect()
        })
        .collect();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| line.replace('\u{a0}', " ").replace('\u{200b}', ""))
        .collect();
    assert_eq!(shown, [text.lines().next().unwrap(), " ", "end"]);
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("  ") || line.starts_with(' '))
    );
}

#[test]
fn the_package_is_the_same_each_time_and_whole() {
    let manifest = package::manifest("https://cs.example.com", APP);
    let made = package::package(&manifest).unwrap();
    assert_eq!(made, package::package(&manifest).unwrap());
    let mut zip = zip::ZipArchive::new(Cursor::new(made)).unwrap();
    let names: Vec<_> = zip
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    assert_eq!(names, ["manifest.json", "color.png", "outline.png"]);
    let mut text = String::new();
    let mut file = zip.by_name("manifest.json").unwrap();
    file.read_to_string(&mut text).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read, manifest);
    assert_eq!(read["bots"][0]["botId"], APP);
    assert_eq!(
        read["description"]["short"]
            .as_str()
            .map(|text| text.len() <= 80),
        Some(true)
    );
}
