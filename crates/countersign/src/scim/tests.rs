//! The protocol over a real gateway, and a gateway to provision for other tests.
//!
//! In scope: who is let in, what operations do, how refusals look, limits.
//! Out of scope: who people are here and what they lose (`admin::provision`). `scim2-tester` goes through
//! every attribute and operation (`integration/python/scim.py`).

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use crate::console::tests::{Answer, POLICIES, Site};

pub(crate) const TOKEN: &str = "a-token-of-thirty-two-characters";
pub(crate) const PROVIDER: &str = r#"
[provider.corp]
issuer = "https://login.example.com"
client_id = "countersign"
client_secret = { env = "SECRET" }
groups = { "db admins" = "dba", "operators" = "ops" }
scim = { token = { file = "scim.token" } }

[group.dba]
"#;
const APPROVALS: &str = r#"
[approval.ops]
stages = [{ from = ["group:dba"], count = 1 }]

[approval.admin]
stages = [{ from = ["group:admins"], count = 1 }]
"#;

/// A gateway whose provider provisions. `group:dba` approves what its agent asks.
pub(crate) struct Corp(pub(crate) Site);

impl Corp {
    pub(crate) async fn open() -> Self {
        Self::open_with(PROVIDER).await
    }

    pub(crate) async fn open_with(main: &str) -> Self {
        let site = Site::open_files(main, APPROVALS, POLICIES).await;
        let corp = Self(site);
        corp.set_token(TOKEN);
        corp
    }

    pub(crate) fn set_token(&self, token: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.gateway.config.join("scim.token");
        std::fs::write(&path, token).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) async fn send(&self, method: &str, path: &str, token: &str, body: Body) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/scim/v2{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/scim+json");
        self.0.send(request.body(body).unwrap()).await
    }

    /// A call that ends with this status.
    pub(crate) async fn call(&self, status: u16, method: &str, path: &str, body: Value) -> Value {
        let answer = self
            .send(method, path, TOKEN, body.to_string().into())
            .await;
        assert_eq!(
            answer.status, status,
            "{method} {path} {body}: {}",
            answer.text
        );
        serde_json::from_str(&answer.text).unwrap_or_default()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call(200, "GET", path, Value::Null).await
    }

    /// A new user; its path.
    pub(crate) async fn user(&self, name: &str) -> String {
        let made = self.call(201, "POST", "/Users", json!({ "userName": name }));
        format!("/Users/{}", made.await["id"].as_str().unwrap())
    }

    /// A new group with these members; its path.
    pub(crate) async fn group(&self, name: &str, members: &[&str]) -> String {
        let members = members.iter().map(|path| json!({ "value": id(path) }));
        let members: Vec<_> = members.collect();
        let body = json!({ "displayName": name, "members": members });
        let made = self.call(201, "POST", "/Groups", body).await;
        format!("/Groups/{}", made["id"].as_str().unwrap())
    }

    /// One operation, which ends with this status.
    pub(crate) async fn patch(&self, status: u16, path: &str, operation: Value) -> Value {
        let body = json!({ "Operations": [operation] });
        self.call(status, "PATCH", path, body).await
    }

    pub(crate) async fn set_active(&self, path: &str, active: bool) {
        let operation = json!({ "op": "replace", "path": "active", "value": active });
        self.patch(200, path, operation).await;
    }
}

/// The identifier at the end of a path.
pub(crate) fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn only_the_token_opens_and_it_opens_nothing_else() {
    let corp = Corp::open().await;
    corp.get("/Users").await;
    let longer = format!("{TOKEN}x");
    let session = corp.0.sign_in("olga@example.com").await;
    let (_, session) = session.split_once('=').unwrap();
    for wrong in [
        "",
        "x",
        &TOKEN[1..],
        &TOKEN.to_uppercase(),
        &longer,
        session,
    ] {
        for (method, path) in [
            ("GET", "/Users"),
            ("POST", "/Groups"),
            ("PUT", "/x"),
            ("PUT", "/Schemas"),
        ] {
            let answer = corp.send(method, path, wrong, Body::empty()).await;
            answer.is(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let by_cookie = Request::get("/scim/v2/Users").header(header::COOKIE, session);
    corp.0
        .send(by_cookie.body(Body::empty()).unwrap())
        .await
        .is(401);
    for path in [
        "/v1/directory",
        "/v1/whoami",
        "/inbox",
        "/people",
        "/v1/requests",
    ] {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        corp.0
            .send(request.body(Body::empty()).unwrap())
            .await
            .is(401);
    }
}

#[tokio::test]
async fn without_a_good_token_nobody_is_let_in() {
    for token in [
        "",
        &TOKEN[1..],
        " \n",
        "two\nlines that are longer than thirty-two",
    ] {
        let corp = Corp::open().await;
        corp.set_token(token);
        for given in [token.trim(), TOKEN] {
            let answer = corp
                .send(
                    "GET",
                    "/Users",
                    given.lines().next().unwrap_or(""),
                    Body::empty(),
                )
                .await;
            answer.is(503);
            assert!(
                !answer.text.contains("file") && !answer.text.contains("short"),
                "{}",
                answer.text
            );
        }
    }
    let corp = Corp::open_with("[group.dba]\n").await;
    corp.send("GET", "/Users", TOKEN, Body::empty())
        .await
        .is(404);
}

/// Operations, and what they make of a place in a user.
fn done(ann: &str) -> Vec<(Value, &'static str, Value)> {
    vec![
        (
            json!({ "op": "add", "path": "displayName", "value": "A" }),
            "/displayName",
            json!("A"),
        ),
        (
            json!({ "op": "REPLACE", "path": "displayname", "value": "B" }),
            "/displayName",
            json!("B"),
        ),
        (
            json!({ "op": "Replace", "value": { "DISPLAYNAME": "C" } }),
            "/displayName",
            json!("C"),
        ),
        (
            json!({ "op": "remove", "path": "displayName" }),
            "/displayName",
            Value::Null,
        ),
        (
            json!({ "op": "replace", "path": "active", "value": "False" }),
            "/active",
            json!(false),
        ),
        (
            json!({ "op": "replace", "path": "active", "value": "TRUE" }),
            "/active",
            json!(true),
        ),
        (
            json!({ "op": "add", "value": { "urn:ietf:params:scim:schemas:core:2.0:User:externalId": "e" } }),
            "/externalId",
            json!("e"),
        ),
        (
            json!({ "op": "add", "value": { "urn:ietf:params:scim:schemas:core:2.0:User": { "externalId": "f" } } }),
            "/externalId",
            json!("f"),
        ),
        (
            json!({ "op": "replace", "path": "name.givenName", "value": "x" }),
            "/name",
            Value::Null,
        ),
        (
            json!({ "op": "replace", "value": { "id": id(ann) } }),
            "/active",
            json!(true),
        ),
    ]
}

/// The same of addresses.
fn done_to_emails() -> Vec<(Value, &'static str, Value)> {
    let work = json!([{ "value": "a@x", "type": "work", "primary": true }]);
    vec![
        (
            json!({ "op": "add", "path": "emails", "value": work }),
            "/emails",
            work.clone(),
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq \"work\"].value", "value": "b@x" }),
            "/emails/0/value",
            json!("b@x"),
        ),
        (
            json!({ "op": "add", "path": "emails[type eq \"home\"].value", "value": "h@x" }),
            "/emails/1",
            json!({ "value": "h@x", "type": "home" }),
        ),
        (
            json!({ "op": "remove", "path": "emails[value eq \"b@x\"]" }),
            "/emails/0/value",
            json!("h@x"),
        ),
        (
            json!({ "op": "remove", "path": "emails" }),
            "/emails",
            Value::Null,
        ),
    ]
}

/// Operations that are refused, and how.
fn refused() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "op": "move", "path": "active" }), "invalidSyntax"),
        (json!({ "path": "active", "value": true }), "invalidSyntax"),
        (json!({ "op": "remove" }), "noTarget"),
        (json!({ "op": "remove", "path": "active" }), "mutability"),
        (json!({ "op": "remove", "path": "userName" }), "mutability"),
        (
            json!({ "op": "replace", "path": "userName", "value": "" }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "userName", "value": ["x"] }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "displayName", "value": "a\u{7}" }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "active", "value": "no" }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "active", "value": 0 }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "active", "value": null }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "active[x", "value": true }),
            "invalidPath",
        ),
        (
            json!({ "op": "replace", "path": "active.x", "value": false }),
            "invalidPath",
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq \"x\"].type", "value": "y" }),
            "noTarget",
        ),
        (
            json!({ "op": "replace", "path": "id", "value": "usr_other" }),
            "mutability",
        ),
        (json!({ "op": "add", "value": "x" }), "invalidSyntax"),
    ]
}

#[tokio::test]
async fn operations_do_what_they_say_and_all_or_nothing() {
    let corp = Corp::open().await;
    let ann = corp.user("ann@example.com").await;
    for (operation, at, expected) in done(&ann).into_iter().chain(done_to_emails()) {
        let after = corp.patch(200, &ann, operation.clone()).await;
        assert_eq!(
            after.pointer(at).unwrap_or(&Value::Null),
            &expected,
            "{operation}"
        );
    }
    let before = corp.get(&ann).await;
    for (operation, kind) in refused() {
        // What stands before it is not done either.
        let first = json!({ "op": "replace", "path": "displayName", "value": "never" });
        let body = json!({ "Operations": [first, operation] });
        let refused = corp.call(400, "PATCH", &ann, body).await;
        assert_eq!(refused["scimType"], kind, "{operation}");
        assert_eq!(
            refused["schemas"][0],
            "urn:ietf:params:scim:api:messages:2.0:Error"
        );
        assert_eq!(corp.get(&ann).await, before, "{operation}");
    }
}

async fn members(corp: &Corp, group: &str) -> Vec<String> {
    let group = corp.get(group).await;
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let names = members
        .iter()
        .map(|one| one["value"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn groups_have_users_as_members_and_nothing_else() {
    let corp = Corp::open().await;
    let (ann, bob) = (
        corp.user("ann@example.com").await,
        corp.user("bob@example.com").await,
    );
    let crew = corp.group("crew", &[&ann]).await;
    let members = async || members(&corp, &crew).await;
    let value = |path: &str| json!([{ "value": id(path) }]);
    for (operation, expected) in [
        (
            json!({ "op": "add", "path": "members", "value": value(&bob) }),
            vec![&ann, &bob],
        ),
        (
            json!({ "op": "add", "path": "members", "value": value(&bob) }),
            vec![&ann, &bob],
        ),
        (
            json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", id(&ann)) }),
            vec![&bob],
        ),
        (
            json!({ "op": "Remove", "path": "members", "value": value(&bob) }),
            vec![],
        ),
        (
            json!({ "op": "replace", "path": "members", "value": value(&ann) }),
            vec![&ann],
        ),
        (
            json!({ "op": "add", "value": { "members": value(&bob) } }),
            vec![&ann, &bob],
        ),
        (
            json!({ "op": "remove", "path": "members[type eq \"Group\"]" }),
            vec![&ann, &bob],
        ),
        (
            json!({ "op": "remove", "path": "members[value eq \"usr_nobody\"]" }),
            vec![&ann, &bob],
        ),
        (
            json!({ "op": "remove", "path": "members[not (value eq \"x\")]" }),
            vec![],
        ),
        (
            json!({ "op": "add", "path": "members", "value": value(&ann) }),
            vec![&ann],
        ),
        (json!({ "op": "remove", "path": "members" }), vec![]),
    ] {
        corp.patch(204, &crew, operation.clone()).await;
        let expected: Vec<_> = expected
            .into_iter()
            .map(|path| id(path).to_owned())
            .collect();
        assert_eq!(members().await, expected, "{operation}");
    }
}

#[tokio::test]
async fn what_is_no_user_is_no_member() {
    let corp = Corp::open().await;
    let ann = corp.user("ann@example.com").await;
    let crew = corp.group("crew", &[&ann]).await;
    let members = async || members(&corp, &crew).await;
    let value = |path: &str| json!([{ "value": id(path) }]);
    for value in [
        json!([{ "value": "usr_nobody" }]),
        json!([{ "value": id(&crew), "type": "Group" }]),
        json!([{ "display": "ann" }]),
        json!([7]),
    ] {
        corp.patch(
            400,
            &crew,
            json!({ "op": "add", "path": "members", "value": value }),
        )
        .await;
    }
    corp.patch(
        204,
        &crew,
        json!({ "op": "add", "path": "members", "value": value(&ann) }),
    )
    .await;
    // A whole group without members has none, and whoever is gone is no member.
    corp.call(200, "PUT", &crew, json!({ "displayName": "crew" }))
        .await;
    assert_eq!(members().await, Vec::<String>::new());
    corp.patch(
        204,
        &crew,
        json!({ "op": "add", "path": "members", "value": value(&ann) }),
    )
    .await;
    corp.call(204, "DELETE", &ann, Value::Null).await;
    assert_eq!(members().await, Vec::<String>::new());
    corp.call(409, "POST", "/Groups", json!({ "displayName": "crew" }))
        .await;
    corp.call(204, "DELETE", &crew, Value::Null).await;
    corp.call(404, "DELETE", &crew, Value::Null).await;
}

#[tokio::test]
async fn lists_are_filtered_in_pages_with_what_is_wanted() {
    let corp = Corp::open().await;
    for number in 0..5 {
        corp.user(&format!("user{number}@example.com")).await;
    }
    let names = async |query: &str| {
        let found = corp.get(&format!("/Users?{query}")).await;
        let total = found["totalResults"].as_u64().unwrap();
        let names = found["Resources"].as_array().unwrap().iter();
        let names = names.map(|one| {
            one["userName"]
                .as_str()
                .unwrap_or("-")
                .chars()
                .take(5)
                .collect::<String>()
        });
        (total, names.collect::<Vec<_>>().join(" "))
    };
    for (query, total, expected) in [
        ("", 5, "user0 user1 user2 user3 user4"),
        ("startIndex=2&count=2", 5, "user1 user2"),
        ("startIndex=-7&count=1", 5, "user0"),
        ("startIndex=6", 5, ""),
        ("count=0", 5, ""),
        ("count=-3", 5, ""),
        ("filter=userName%20eq%20%22USER3@example.com%22", 1, "user3"),
        (
            "filter=userName%20ew%20%22.com%22%20and%20active%20eq%20true&count=1",
            5,
            "user0",
        ),
        (
            "filter=id%20pr%20and%20not%20(userName%20sw%20%22user0%22)",
            4,
            "user1 user2 user3 user4",
        ),
        ("attributes=displayName&count=2", 5, "- -"),
        ("excludedAttributes=userName&count=1", 5, "-"),
    ] {
        assert_eq!(names(query).await, (total, expected.to_owned()), "{query}");
    }
    for query in [
        "filter=userName",
        "filter=",
        "startIndex=x",
        "count=1.5",
        "filter=%FF",
    ] {
        let path = format!("/Users?{query}");
        corp.call(400, "GET", &path, Value::Null).await;
    }
    let many = format!("attributes={}", "a,b,".repeat(100).replace("a,b", "a"));
    assert_eq!(names(&many).await.0, 5);
}

#[tokio::test]
async fn bodies_have_a_kind_a_size_and_one_meaning() {
    let corp = Corp::open().await;
    let send = async |body: String| corp.send("POST", "/Users", TOKEN, body.into()).await;
    send("{\"userName\":\"a@b.c\",\"userName\":\"d@e.f\"}".into())
        .await
        .is(400);
    send("[]".into()).await.is(400);
    send("{}".into()).await.is(400);
    send("{\"userName\":".into()).await.is(400);
    let long = json!({ "userName": "x".repeat(600) });
    send(long.to_string()).await.is(400);
    send(" ".repeat((4 << 20) + 1)).await.is(413);
    let many = vec![json!({ "op": "add", "path": "displayName", "value": "x" }); 1_001];
    let ann = corp.user("ann@example.com").await;
    corp.call(400, "PATCH", &ann, json!({ "Operations": many }))
        .await;
    corp.call(400, "PATCH", &ann, json!({ "Operations": [] }))
        .await;
    let crew = corp.group("crew", &[&ann]).await;
    let search = json!({ "op": "remove", "path": "members[value sw \"x\"]" });
    let named = json!({ "op": "remove", "path": "members[value eq \"x\"]" });
    for (operation, status) in [(search, 400), (named, 204)] {
        let body = json!({ "Operations": vec![operation; 11] });
        corp.call(status, "PATCH", &crew, body).await;
    }
    let text = Request::post("/scim/v2/Users")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "text/plain");
    corp.0.send(text.body("{}".into()).unwrap()).await.is(415);
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/Users/usr_nobody", 404),
        ("GET", "/Users/%20", 404),
        ("POST", "/Bulk", 501),
        ("GET", "/Me", 501),
        ("POST", "/Schemas", 405),
        ("PATCH", "/Users", 405),
    ] {
        let answer = corp.send(method, path, TOKEN, Body::empty()).await;
        answer.is(status);
        assert_eq!(
            answer.header("content-type"),
            "application/scim+json",
            "{path}"
        );
    }
}
