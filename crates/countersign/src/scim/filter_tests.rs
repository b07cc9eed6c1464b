//! Filters and paths as the specification has them, and what is none.

use serde_json::json;

use super::*;

fn ann() -> Map<String, Value> {
    let ann = json!({
        "id": "usr_1", "userName": "Ann@Example.com", "active": true, "externalId": "AbC",
        "displayName": "Ann \"the\" O'Neil",
        "emails": [
            { "value": "ann@example.com", "type": "work", "primary": true },
            { "value": "ann@home.example", "type": "home" },
        ],
        "meta": { "created": "2026-11-21T10:00:00.000Z" },
    });
    ann.as_object().unwrap().clone()
}

#[test]
fn filters_mean_what_the_specification_says() {
    for (text, expected) in [
        (r#"userName eq "ann@example.com""#, true),
        (r#"USERNAME EQ "ANN@EXAMPLE.COM""#, true),
        (
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ann""#,
            true,
        ),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department pr"#,
            false,
        ),
        (r#"userName ne "ann@example.com""#, false),
        (r#"nickName ne "x""#, true),
        (r#"externalId eq "abc""#, false),
        (r#"externalId eq "AbC""#, true),
        (r#"displayName co "\"THE\"""#, true),
        (r#"userName ew ".com" and userName sw "bob""#, false),
        (r#"userName sw "bob" or active eq true"#, true),
        // `and` binds closer than `or`.
        (
            r#"active eq true or userName sw "bob" and active eq false"#,
            true,
        ),
        (
            r#"(active eq true or userName sw "bob") and active eq false"#,
            false,
        ),
        (r#"not (active eq true)"#, false),
        (r#"not(active eq false)and emails pr"#, true),
        (r#"emails pr"#, true),
        (r#"title pr"#, false),
        (r#"title eq null"#, true),
        (r#"title eq """#, false),
        (r#"emails eq "ann@home.example""#, true),
        (r#"emails.type eq "home""#, true),
        (r#"emails[type eq "work" and value co "home"]"#, false),
        (r#"emails[type eq "home" and value co "home"]"#, true),
        (r#"meta.created ge "2026-11-21T10:00:00.000Z""#, true),
        (r#"meta.created gt "2026-11-21T10:00:00.000Z""#, false),
        (r#"meta.created lt "2027""#, true),
        (r#"active eq "true""#, false),
        (r#"active eq True"#, true),
        (r#"userName gt 5"#, false),
    ] {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&ann()), expected, "{text}");
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    let deep = format!("{}active eq true{}", "(".repeat(20), ")".repeat(20));
    let long = format!("userName eq \"{}\"", "x".repeat(MAX_LENGTH));
    for text in [
        "",
        " ",
        "userName",
        "userName eq",
        "userName is \"x\"",
        "userName eq x",
        "userName eq \"x",
        "userName eq \"x\" and",
        "userName eq \"x\" userName pr",
        "(userName pr",
        "userName pr)",
        "emails[type eq \"x\"",
        "emails[]",
        "not active eq true",
        "user..Name pr",
        ".userName pr",
        "user name pr",
        "userName co true",
        "\"userName\" eq \"x\"",
        "userName eq {}",
        "eq \"x\"",
        "ünicode pr",
        &deep,
        &long,
    ] {
        let refused = Filter::parse(text).expect_err(text);
        assert_eq!(refused.kind, Some("invalidFilter"), "{text}");
    }
}

#[test]
fn paths_have_a_filter_and_a_part() {
    let path = |text: &str| {
        let path = Path::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let filter = path.filter.is_some();
        (path.attribute.name, filter, path.attribute.part)
    };
    let part = |text: &str| Some(text.to_owned());
    for (text, expected) in [
        ("members", ("members".into(), false, None)),
        (
            "members[value eq \"usr_1\"]",
            ("members".into(), true, None),
        ),
        (
            "emails[type eq \"work\"].value",
            ("emails".into(), true, part("value")),
        ),
        ("name.givenName", ("name".into(), false, part("givenname"))),
        (
            "urn:ietf:params:scim:schemas:core:2.0:User:active",
            ("active".into(), false, None),
        ),
        (
            "urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq \"work\"].value",
            ("emails".into(), true, part("value")),
        ),
    ] {
        assert_eq!(path(text), expected, "{text}");
    }
    for text in [
        "",
        "members[",
        "members[value eq \"x\"]value",
        "members[value eq \"x\"].",
        "members value",
        "members[value eq \"x\"] or active",
    ] {
        assert_eq!(
            Path::parse(text).unwrap_err().kind,
            Some("invalidPath"),
            "{text}"
        );
    }
}
