//! `[provider.NAME]` tables that are refused, and what one that is not means.

use crate::fixture::{MAIN, files};

const GOOD: &str = "[provider.corp]\nissuer = \"https://a.example\"\nclient_id = \"c\"\n\
                    client_secret = { env = \"S\" }\n";

#[test]
fn providers() {
    let with = |from: &str, to: &str| GOOD.replace(from, to);
    let more = |line: &str| format!("{GOOD}{line}\n");
    for (written, line, message) in [
        (with("corp", "Corp"), 1, "`Corp` cannot name a provider"),
        (
            with("https://a.example", "http://a.example"),
            2,
            "it would be sent in the clear",
        ),
        (
            with("https://a.example", "https://u:p@a.example"),
            2,
            "it has a user or password",
        ),
        (
            with("https://a.example", "https://a.example?x=1"),
            2,
            "it has a query",
        ),
        (
            with("https://a.example", "https://accounts.google.com"),
            2,
            "anybody can have an account",
        ),
        (
            with("https://a.example", "https://accounts.google.com/"),
            2,
            "anybody can have an account",
        ),
        (with("\"c\"", "\"\""), 3, "can't be used here"),
        (with("\"c\"", "\"a\\nb\""), 3, "can't be used here"),
        (
            with("{ env = \"S\" }", "{}"),
            4,
            "the client_secret has not one source",
        ),
        (
            with("client_secret = { env = \"S\" }\n", ""),
            1,
            "client_secret",
        ),
        (
            more("groups = { \"a\" = \"missing\" }"),
            5,
            "unknown group `missing`",
        ),
        (
            more("scopes = [\"a b\"]"),
            5,
            "`scopes` has something that is none",
        ),
        (
            more("session = \"30d\""),
            5,
            "a session of 30d is out of bounds",
        ),
        (
            more("session = \"1s\""),
            5,
            "a session of 1s is out of bounds",
        ),
        (more("kind = \"oidc\""), 5, "unknown field `kind`"),
        (more("scim = {}"), 5, "missing field `token`"),
        (
            more("scim = { token = { env = \"A\", file = \"b\" } }"),
            5,
            "the token of `scim` has not one source",
        ),
        (more("scim = { token = \"abc\" }"), 5, "invalid type"),
        (
            more("scim = { token = { env = \"A\" }, person = \"displayName\" }"),
            5,
            "unknown variant `displayName`",
        ),
        (
            format!("{GOOD}{}", with("corp", "other")),
            5,
            "`other` is a second provider that says who people are",
        ),
        (
            format!("{GOOD}{}links_only = true\n", with("corp", "other")),
            5,
            "`other` has the same issuer as `corp`",
        ),
        (
            more("signed_in_within = \"1d\""),
            5,
            "`signed_in_within` is for providers that only link",
        ),
        (
            more("links_only = true\nsigned_in_within = \"91d\""),
            6,
            "`signed_in_within` is 91d",
        ),
        (
            more("links_only = true\ncreates_people = true"),
            1,
            "a provider that only links has no `creates_people`",
        ),
        (
            more("links_only = true\ngroups = { \"a\" = \"agents\" }"),
            1,
            "a provider that only links has no `groups`",
        ),
        (
            more("links_only = true\ngroups_claim = \"g\""),
            1,
            "a provider that only links has no `groups_claim`",
        ),
        (
            more("links_only = true\nscim = { token = { env = \"A\" } }"),
            1,
            "a provider that only links has no `scim`",
        ),
    ] {
        let mut files = files("");
        let text = format!("{MAIN}{written}");
        files.insert("countersign.toml".into(), text);
        let problems = countersign_policy::Bundle::from_files(&files).unwrap_err();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let at = format!("countersign.toml:{}: error: ", MAIN.lines().count() + line);
        let said = |one: &String| one.starts_with(&at) && one.contains(message);
        assert!(lines.iter().any(said), "{written}: {lines:#?}");
    }
}

#[test]
fn any_number_of_others_only_link() {
    let other = |name: &str, at: &str| {
        let table = GOOD.replace("corp", name).replace("a.example", at);
        format!("{table}links_only = true\n")
    };
    let read = |text: &str| {
        let mut files = files("@id(\"all\") permit (principal, action, resource);");
        files.insert("countersign.toml".into(), format!("{MAIN}\n{text}"));
        countersign_policy::Bundle::from_files(&files).unwrap()
    };
    let three = format!(
        "{GOOD}{}{}",
        other("b", "b.example"),
        other("c", "c.example")
    );
    let bundle = read(&three);
    assert_eq!(bundle.providers().len(), 3);
    let (name, authority) = bundle.authority().unwrap();
    assert_eq!((name.as_str(), authority.creates_people), ("corp", true));
    let linked = bundle
        .providers()
        .values()
        .filter_map(|one| Some((one, one.links?)));
    for (provider, links) in linked {
        assert!(!provider.creates_people && provider.groups.is_empty());
        assert_eq!(links.signed_in_within.to_string(), "7d");
    }
    // What was believed as the one is not believed as the other.
    let alone = read(&other("corp", "a.example"));
    assert!(alone.authority().is_none());
    let settings = |bundle: &countersign_policy::Bundle| {
        let provider = &bundle.providers()[&"corp".parse().unwrap()];
        provider.settings().unwrap()
    };
    assert_ne!(settings(&alone), settings(&bundle));
    let longer = read(&format!(
        "{}signed_in_within = \"8d\"\n",
        other("corp", "a.example")
    ));
    assert_ne!(settings(&alone), settings(&longer));
}

#[test]
fn whose_people_are_meant_makes_a_public_provider_one_of_ours() {
    let text = format!(
        "{MAIN}\n{}require = {{ hd = \"example.com\" }}\n",
        GOOD.replace("https://a.example", "https://accounts.google.com")
    );
    let mut files = files("@id(\"all\") permit (principal, action, resource);");
    files.insert("countersign.toml".into(), text);
    let bundle = countersign_policy::Bundle::from_files(&files).unwrap();
    let provider = bundle.providers().values().next().unwrap();
    assert_eq!(provider.title, "corp");
    assert_eq!(provider.scopes, ["profile", "email"]);
    assert_eq!(provider.session.to_string(), "12h");
    assert!(provider.creates_people);
}
