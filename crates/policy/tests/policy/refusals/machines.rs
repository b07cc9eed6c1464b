//! `[issuer.NAME]` tables and proofs of machines that are refused, and what one that is not means.

use countersign_policy::Bundle;

use crate::fixture::{MAIN, files};

const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const OTHER: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const GITHUB: &str = "[issuer.github]\nissuer = \"https://token.actions.githubusercontent.com\"\n";
const CLUSTER: &str = "[issuer.cluster]\nissuer = \"https://cluster.example\"\n";
const SPIFFE: &str =
    "[issuer.td]\nissuer = \"spiffe://example.org\"\njwks_uri = \"https://td.example/keys\"\n";

fn read(written: &str) -> Result<Bundle, Vec<String>> {
    let mut all = files("");
    let main = MAIN.trim_end();
    all.insert("countersign.toml".into(), format!("{main}\n{written}"));
    Bundle::from_files(&all).map_err(|problems| {
        let start = main.lines().count();
        let told = problems.iter().filter(|problem| problem.is_error());
        let line = |line: Option<u32>| line.map_or(0, |line| line as usize - start);
        told.map(|one| format!("{}: {}", line(one.line), one.message))
            .collect()
    })
}

#[track_caller]
fn check(written: &str, line: usize, message: &str) {
    let found = read(written).map(|_| ()).unwrap_err();
    let expected = format!("{line}: ");
    let fits = |one: &String| one.starts_with(&expected) && one.contains(message);
    assert!(
        found.iter().any(fits),
        "{written}\nexpected {line}: {message}\nfound {found:#?}"
    );
}

fn agent(name: &str, claims: &str) -> String {
    let issuer = claims
        .split_once('|')
        .map_or("cluster", |(issuer, _)| issuer);
    let claims = claims.split_once('|').map_or(claims, |(_, claims)| claims);
    format!(
        "[agent.{name}]\nowner = \"sam@example.com\"\nproves = [{{ issuer = \"{issuer}\", claims = {{ {claims} }} }}]\n"
    )
}

#[test]
fn issuers() {
    let with = |from: &str, to: &str| CLUSTER.replace(from, to);
    let more = |line: &str| format!("{CLUSTER}{line}\n");
    let address = "https://cluster.example";
    for (written, line, message) in [
        (
            with("cluster]", "Cluster]"),
            1,
            "`Cluster` cannot name an issuer",
        ),
        (
            with(address, "http://cluster.example"),
            2,
            "sent in the clear",
        ),
        (
            with(address, "https://u:p@cluster.example"),
            2,
            "user or password",
        ),
        (
            with(address, "https://cluster.example?x=1"),
            2,
            "it has a query",
        ),
        (with(address, "cluster.example"), 2, "no address on the web"),
        (with(address, "spiffe://"), 2, "no trust domain"),
        (
            with(address, "spiffe://example.org/path"),
            2,
            "no trust domain",
        ),
        (with(address, "spiffe://Example.org"), 2, "no trust domain"),
        (
            with(address, "spiffe://example.org"),
            1,
            "no discovery document",
        ),
        (
            more("jwks_uri = \"http://cluster.example/keys\""),
            3,
            "sent in the clear",
        ),
        (
            more("jwks_uri = \"https://a.example\"\nkeys = '{}'"),
            1,
            "both `jwks_uri` and `keys`",
        ),
        (more("keys = '{}'"), 3, "no set of 1 to 32 keys"),
        (more("keys = '{\"keys\":[]}'"), 3, "no set of 1 to 32 keys"),
        (more("keys = 'keys.json'"), 3, "no set of 1 to 32 keys"),
        (
            more("keys = '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}'"),
            3,
            "private or shared key",
        ),
        (
            more("keys = '{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}'"),
            3,
            "2048 bits",
        ),
        (more("algorithms = []"), 3, "`algorithms` has"),
        (more("algorithms = [\"HS256\"]"), 3, "`HS256`"),
        (more("algorithms = [\"none\"]"), 3, "`none`"),
        (more("algorithms = [\"RS256\", \"HS512\"]"), 3, "`HS512`"),
        (more("audience = \"\""), 3, "`audience` can't be used"),
        (more("audience = [\"a\"]"), 3, ""),
        (more("kind = \"kubernetes\""), 3, "unknown field"),
        (
            format!("{CLUSTER}[issuer.again]\nissuer = \"{address}\"\n"),
            3,
            "another issuer's address",
        ),
        (
            format!(
                "{CLUSTER}audience = \"c\"\n[provider.corp]\nissuer = \"{address}\"\nclient_id = \"c\"\n\
                 client_secret = {{ env = \"S\" }}\n"
            ),
            1,
            "people sign in with tokens for this audience",
        ),
    ] {
        check(&written, line, message);
    }
}

#[test]
fn proofs_name_one_machine() {
    let github = |claims: &str| format!("{GITHUB}{}", agent("bot-a", &format!("github|{claims}")));
    let cluster = |claims: &str| format!("{CLUSTER}{}", agent("bot-a", claims));
    let spiffe = |claims: &str| format!("{SPIFFE}{}", agent("bot-a", &format!("td|{claims}")));
    for (written, line, message) in [
        (
            github("environment = \"production\""),
            5,
            "everybody's repositories",
        ),
        (
            github("sub = \"repo:acme/shop:ref:refs/heads/main\""),
            5,
            "everybody's repositories",
        ),
        (
            github("repository_owner = \"acme\""),
            5,
            "everybody's repositories",
        ),
        (
            github("repository = \"acme/*\""),
            5,
            "`*` stands for nothing",
        ),
        (
            github("repository = \"acme/shop\", aud = \"x\""),
            5,
            "nothing of who has the token",
        ),
        (github("repository = \"\""), 5, "it is empty"),
        (github("repository = [\"acme/shop\"]"), 5, "invalid type"),
        (github("repository = 7"), 5, "invalid type"),
        (cluster(""), 5, "no claim names the machine"),
        (cluster("ns = \"prod\""), 5, "no claim names the machine"),
        (
            cluster("sub = \"system:serviceaccount:prod\""),
            5,
            "no service account",
        ),
        (
            cluster("sub = \"system:serviceaccount:prod:\""),
            5,
            "no service account",
        ),
        (
            cluster("sub = \"system:serviceaccount:prod:a:b\""),
            5,
            "no service account",
        ),
        (
            cluster("sub = \"system:serviceaccount:prod:*\""),
            5,
            "`*` stands for nothing",
        ),
        (
            cluster("sub = \"spiffe://example.org\""),
            5,
            "no workload of the trust domain",
        ),
        (
            spiffe("sub = \"spiffe://example.org/\""),
            6,
            "no workload of the trust domain",
        ),
        (
            spiffe("sub = \"spiffe://other.org/a\""),
            6,
            "no workload of the trust domain",
        ),
        (
            spiffe("sub = \"spiffe://example.org.evil/a\""),
            6,
            "no workload of the trust domain",
        ),
        (
            agent("bot-a", "gone|sub = \"x\""),
            3,
            "unknown issuer `gone`",
        ),
    ] {
        check(&written, line, message);
    }
    // Elsewhere on GitHub it is the same.
    let server = GITHUB.replace(
        "https://token.actions.githubusercontent.com",
        "https://git.example/_services/token",
    );
    let written = format!("{server}{}", agent("bot-a", "github|sub = \"x\""));
    check(&written, 5, "everybody's repositories");
    let enterprise = GITHUB.replace(".com\"", ".com/acme\"");
    let written = format!(
        "{enterprise}{}",
        agent("bot-a", "github|environment = \"x\"")
    );
    check(&written, 5, "everybody's repositories");
}

#[test]
fn no_token_and_no_key_is_two_machines() {
    let two = |one: &str, other: &str| {
        format!("{CLUSTER}{}{}", agent("bot-a", one), agent("bot-b", other))
    };
    let apart = "`agent:bot-b` and `agent:bot-a` can't be told apart";
    for (one, other) in [
        ("sub = \"x\"", "sub = \"x\""),
        ("sub = \"x\"", "sub = \"x\", ref = \"main\""),
        ("sub = \"x\", env = \"a\"", "sub = \"x\", ref = \"main\""),
    ] {
        check(&two(one, other), 6, apart);
    }
    read(&two("sub = \"x\"", "sub = \"y\"")).unwrap();
    read(&two("sub = \"x\", env = \"a\"", "sub = \"x\", env = \"b\"")).unwrap();
    let keys = |one: &str, other: &str| {
        format!(
            "[agent.bot-a]\nowner = \"sam@example.com\"\nkeys = ['{one}']\n[workload.bot-b]\nowner = \"sam@example.com\"\nkeys = ['{other}']\n"
        )
    };
    check(&keys(KEY, KEY), 4, "they have the same key");
    let spelt = KEY.replacen('{', "{ \"kid\": \"mine\", ", 1);
    check(&keys(KEY, &spelt), 4, "they have the same key");
    read(&keys(KEY, OTHER)).unwrap();
}

#[test]
fn keys_are_public_and_tokens_have_bounds() {
    let table = |line: &str| format!("[agent.bot-a]\nowner = \"sam@example.com\"\n{line}\n");
    let key = |text: &str| table(&format!("keys = ['{text}']"));
    for (written, line, message) in [
        (key("deploy.pem"), 3, "it is no JSON"),
        (key("[]"), 3, "no JSON object"),
        (key("{}"), 3, "of a kind that is not believed"),
        (
            key(&KEY.replacen('{', "{\"d\":\"AAAA\",", 1)),
            3,
            "make a new pair",
        ),
        (
            key(&KEY.replace("P-256", "secp256k1")),
            3,
            "of a kind that is not believed",
        ),
        (key(&KEY.replace("f83O", "f8")), 3, "not the size"),
        (
            key(&KEY.replace("\"y\"", "\"z\"")),
            3,
            "a parameter of the key is missing",
        ),
        (
            key("{\"kty\":\"oct\",\"k\":\"AAAA\"}"),
            3,
            "private or shared key",
        ),
        (table("require_dpop = true"), 1, "no token at all"),
        (table("token_lifetime = \"2h\""), 3, "out of bounds"),
        (table("token_lifetime = \"10s\""), 3, "out of bounds"),
        (table("long_lived_tokens = \"91d\""), 3, "out of bounds"),
        (table("long_lived_tokens = \"1h\""), 3, "out of bounds"),
        (table("long_lived_tokens = true"), 3, "invalid type"),
    ] {
        check(&written, line, message);
    }
}

#[test]
fn a_repository_without_a_place_is_warned_of() {
    let of = |claims: &str| {
        let bundle = read(&format!(
            "{GITHUB}{}",
            agent("bot-a", &format!("github|{claims}"))
        ))
        .unwrap();
        let about = |text: &str| text.contains("any workflow of the repository");
        bundle.warnings().iter().any(|one| about(&one.message))
    };
    assert!(of("repository = \"acme/shop\""));
    assert!(of("repository_id = \"42\", repository = \"acme/shop\""));
    assert!(!of(
        "repository = \"acme/shop\", environment = \"production\""
    ));
    assert!(!of("repository_id = \"42\", ref = \"refs/heads/main\""));
}

#[test]
fn what_is_believed_otherwise_is_another_proof() {
    let settings = |written: &str| {
        let bundle = read(written).unwrap();
        let id = countersign_core::subject::SubjectId::Agent("bot-a".parse().unwrap());
        bundle.machines()[&id].proofs[0].settings()
    };
    let table = |issuer: &str, claims: &str| format!("{issuer}{}", agent("bot-a", claims));
    let base = settings(&table(CLUSTER, "sub = \"x\""));
    assert_eq!(
        base,
        settings(&table(&format!("# a comment\n{CLUSTER}"), "sub = \"x\""))
    );
    for other in [
        table(CLUSTER, "sub = \"y\""),
        table(CLUSTER, "sub = \"x\", ref = \"main\""),
        table(
            &CLUSTER.replace("cluster.example", "other.example"),
            "sub = \"x\"",
        ),
        table(&format!("{CLUSTER}audience = \"a\"\n"), "sub = \"x\""),
        table(
            &format!("{CLUSTER}algorithms = [\"RS256\"]\n"),
            "sub = \"x\"",
        ),
        table(&format!("{CLUSTER}ca = \"ca.pem\"\n"), "sub = \"x\""),
        table(
            &format!("{CLUSTER}jwks_uri = \"https://cluster.example/keys\"\n"),
            "sub = \"x\"",
        ),
    ] {
        assert_ne!(base, settings(&other), "{other}");
    }
}
