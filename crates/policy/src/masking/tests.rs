//! What is found, what is left alone, and that nothing is lost or left behind.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{formats::FORMATS, *};

/// Put together at run time, so that no scanner takes the tests for a leak.
fn token(prefix: &str, rest: &str) -> String {
    format!("{prefix}{rest}")
}

fn base62(length: usize) -> String {
    "a1B2c3D4e5F6g7H8i9J0"
        .chars()
        .cycle()
        .take(length)
        .collect()
}

fn hex(length: usize) -> String {
    "0a1b2c3d4e5f6789".chars().cycle().take(length).collect()
}

fn known() -> Vec<(&'static str, String)> {
    let s = |prefix: &str, length| token(prefix, &base62(length));
    let h = |prefix: &str, length| token(prefix, &hex(length));
    vec![
        ("github-token", s("ghp_", 36)),
        ("github-token", s("github_pat_", 82)),
        ("gitlab-token", s("glpat-", 20)),
        ("slack-token", s("xoxb-1234567890-", 24)),
        ("slack-token", s("xapp-1-A1-", 30)),
        ("google-api-key", s("AIza", 35)),
        ("google-token", s("ya29.", 60)),
        ("google-client-secret", s("GOCSPX-", 28)),
        (
            "azure-client-secret",
            format!("{}8Q~{}", base62(3), base62(34)),
        ),
        ("anthropic-key", s("sk-ant-api03-", 80)),
        ("openai-key", s("sk-proj-", 60)),
        ("openai-key", s("sk-", 48)),
        ("stripe-key", s("sk_live_", 24)),
        ("webhook-secret", s("whsec_", 32)),
        ("npm-token", s("npm_", 36)),
        ("pypi-token", s("pypi-", 120)),
        ("rubygems-key", h("rubygems_", 48)),
        ("crates-token", s("cio", 32)),
        ("nuget-key", h("oy2", 43)),
        ("docker-token", s("dckr_pat_", 27)),
        ("digitalocean-token", h("dop_v1_", 64)),
        ("vault-token", s("hvs.", 90)),
        (
            "terraform-token",
            format!("{}.atlasv1.{}", base62(14), base62(67)),
        ),
        ("sendgrid-key", format!("SG.{}.{}", base62(22), base62(43))),
        ("mailgun-key", h("key-", 32)),
        ("shopify-token", h("shpat_", 32)),
        ("databricks-token", h("dapi", 32)),
        ("linear-key", s("lin_api_", 40)),
        ("notion-token", s("ntn_", 46)),
        ("huggingface-token", s("hf_", 34)),
        ("grafana-token", format!("glsa_{}_{}", base62(32), hex(8))),
        ("newrelic-key", token("NRAK-", &base62(27).to_uppercase())),
        ("pulumi-token", h("pul-", 40)),
        ("doppler-token", s("dp.pt.", 43)),
        ("atlassian-token", s("ATATT3", 100)),
        ("postman-key", format!("PMAK-{}-{}", hex(24), hex(34))),
        ("figma-token", s("figd_", 40)),
        ("supabase-token", h("sbp_", 40)),
        ("airtable-token", format!("pat{}.{}", base62(14), hex(64))),
        ("netlify-token", s("nfp_", 36)),
        ("planetscale-token", s("pscale_tkn_", 43)),
        ("telegram-token", s("123456789:AA", 33)),
        (
            "age-key",
            token("AGE-SECRET-KEY-1", &base62(58).to_uppercase()),
        ),
        ("countersign-secret", s("cst_", 43)),
        (
            "jwt",
            format!("eyJ{}.eyJ{}.{}", base62(20), base62(40), base62(43)),
        ),
    ]
}

/// Secrets that are only a part of what they are recognised by: kind, before, secret, after.
fn in_context() -> Vec<(&'static str, &'static str, String, &'static str)> {
    vec![
        (
            "slack-webhook",
            "https://hooks.slack.com/services/",
            format!("T0{}/B0{}/{}", base62(8), base62(8), base62(24)),
            "",
        ),
        (
            "discord-webhook",
            "https://discord.com/api/webhooks/1234/",
            base62(68),
            "",
        ),
        (
            "teams-webhook",
            "https://acme.webhook.office.com/webhookb2/",
            format!("{}@{}/{}", hex(32), hex(32), hex(32)),
            "",
        ),
        ("aws-secret-key", "AWS_SECRET_ACCESS_KEY=", base62(40), ""),
        (
            "azure-key",
            "AccountName=a;AccountKey=",
            token(&base62(86), "=="),
            ";x",
        ),
        (
            "azure-signature",
            "https://a.blob.core.windows.net/c?sv=1&sig=",
            token(&base62(43), "%3D"),
            "&se=2",
        ),
        ("authorization", "Authorization: Bearer ", base62(20), ""),
        (
            "private-key",
            "-----BEGIN RSA PRIVATE KEY-----",
            format!("\n{}\n{}=\n", base62(64), base62(31)),
            "-----END RSA PRIVATE KEY-----",
        ),
    ]
}

fn shown_in(text: &str) -> (String, bool) {
    let masked = Masker::default().text(text);
    (masked.text.into_owned(), masked.verified)
}

#[test]
fn every_format_is_found_wherever_it_stands_and_no_other() {
    let formats = FORMATS.as_ref().expect("patterns that compile");
    for (kind, secret) in known() {
        assert!(formats.all.iter().any(|format| format.kind == kind));
        for (before, after) in [
            ("", ""),
            ("x ", " y"),
            ("--token=", ""),
            ("'", "'"),
            ("(", ")"),
        ] {
            let text = format!("{before}{secret}{after}");
            let expected = format!("{before}‹{kind} {}›{after}", secret.len());
            let verified = !secret.contains(['.', '~', ':']);
            assert_eq!(shown_in(&text), (expected, verified), "{text}");
        }
    }
    for (kind, before, secret, after) in in_context() {
        let text = format!("{before}{secret}{after}");
        let expected = format!("{before}‹{kind} {}›{after}", secret.len());
        let verified = ["aws-secret-key", "azure-key"].contains(&kind);
        assert_eq!(shown_in(&text), (expected, verified), "{text}");
        assert!(formats.all.iter().any(|format| format.kind == kind));
    }
    let kinds: std::collections::BTreeSet<_> = formats.all.iter().map(|one| one.kind).collect();
    let tried = known().into_iter().map(|one| one.0);
    let tried = tried.chain(in_context().into_iter().map(|one| one.0));
    let tried: std::collections::BTreeSet<_> = tried.chain(["password"]).collect();
    assert_eq!(kinds, tried);
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "",
        "git push origin main",
        "ghp_short",
        "AKIAIOSFODNN7EXAMPLE",
        "0123456789abcdef0123456789abcdef01234567",
        "https://example.com:8080/a@b",
        "https://user@example.com/",
        "ssh://git@host:22/x",
        "https://user:$TOKEN@host/",
        "https://user:${TOKEN}@host/",
        "https://user:***@host/",
        "a:b@c",
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIA",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "risk-assessment sk-x sk_live",
        "‹github-token 40›",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ] {
        assert_eq!(shown_in(text), (text.into(), true));
    }
}

#[test]
fn passwords_in_addresses_are_masked_to_the_last_sign_and_hide_no_host() {
    for (text, expected) in [
        ("postgres://u:p@h/db", "postgres://u:‹password 1›@h/db"),
        ("redis://:pass@h:6379", "redis://:‹password 4›@h:6379"),
        ("x://u:a:b@h", "x://u:‹password 3›@h"),
        // Which of them is the host depends on who reads it; the last one is what most go to.
        ("http://u:p@prod@evil/", "http://u:‹password 6›@evil/"),
        ("http://h/u:p@x", "http://h/u:p@x"),
        ("http://h?u:p@x", "http://h?u:p@x"),
        (
            "http://u:p@h http://v:q@i",
            "http://u:‹password 1›@h http://v:‹password 1›@i",
        ),
        (
            r#"{"a":"http://x:y","b":"c@d"}"#,
            r#"{"a":"http://x:y","b":"c@d"}"#,
        ),
        ("http://u:pä@h", "http://u:‹password 2›@h"),
    ] {
        let verified = !expected.contains('‹');
        assert_eq!(shown_in(text), (expected.into(), verified), "{text}");
    }
}

#[test]
fn a_token_as_password_is_what_it_is_and_words_are_not_believed() {
    let secret = token("ghp_", &base62(36));
    let (text, verified) = shown_in(&format!("https://x:{secret}@github.com/a"));
    assert_eq!(text, "https://x:‹github-token 40›@github.com/a");
    assert!(verified);
    // Somebody's words in the form of a token are masked, too, but not taken for one.
    let words = token("ghp_", "DeleteEverythingInProductionRightNow1");
    let (text, verified) = shown_in(&words);
    assert_eq!((text.as_str(), verified), ("‹github-token 41›", false));
    // Nor is what stands where a host, a path or a program does, or could be any text.
    let secret = token("ghp_", &base62(36));
    for text in [
        format!("https://{secret}.example.com/x"),
        format!("https://{secret}/x"),
        format!("./{secret}"),
        format!("{secret}.sh"),
        format!("a-{secret}"),
        token("ghp_", "DROPTABLEUSERSANDDELETEALLBACKUPSNOW1"),
        token("glpat-", "a1b2c3.attack1.example.com"),
        "sh -c 'authorization=token /srv/evil1/run'".into(),
        "https://x/?sig=%64%65%6c%65%74%65%20%65%76%65%72%79%74%68%69%6e%67%20%6e%6f%77".into(),
        "-----BEGIN PRIVATE KEY-----\nrm /srv/db1\ncurl /x1\n-----END ".into(),
        token("ghp_", &base62(400)),
    ] {
        let (shown, verified) = shown_in(&text);
        assert!(shown == text || !verified, "{text}: {shown}");
    }
    for text in [
        format!("https://{secret}@github.com/a"),
        format!("a={secret}&b=c"),
    ] {
        assert!(shown_in(&text).1, "{text}");
    }
    let cut = format!("-----BEGIN PRIVATE KEY-----\n{}", base62(64));
    let (text, verified) = shown_in(&cut);
    assert_eq!(text, "-----BEGIN PRIVATE KEY-----‹private-key 65›");
    assert!(!verified);
}

#[test]
fn own_patterns_mask_their_group_and_bad_ones_are_refused() {
    let mut masker = Masker::default();
    masker.add("acme", "acme_[a-z0-9]{8}").unwrap();
    masker.add("named", "^DB_PASSWORD=(?P<secret>.+)$").unwrap();
    let shown = |text: &str| masker.text(text).text.into_owned();
    assert_eq!(shown("x acme_0a1b2c3d y"), "x ‹acme 13› y");
    assert!(!masker.text("acme_0a1b2c3d").verified);
    assert_eq!(shown("DB_PASSWORD=hunter2"), "DB_PASSWORD=‹named 7›");
    for bad in ["(", "a{9999999}", "x*", "(?=a)b", r"(a)\1", "x(?P<sec>.+)"] {
        assert!(masker.add("bad", bad).is_err(), "{bad}");
    }
    assert!(masker.add("github-token", "x").is_err());
    let mut arguments = json!({ "env": { "DB_PASSWORD": "hunter2", "USER": "hunter2" } });
    let taken = masker.take_out(&mut arguments).unwrap();
    let masked = json!({ "env": { "DB_PASSWORD": "‹named 7›", "USER": "hunter2" } });
    assert_eq!(arguments, masked);
    assert_eq!((taken[0].start, taken[0].secret.as_str()), (0, "hunter2"));
}

#[test]
fn names_hold_no_secret_and_there_is_an_end_to_them() {
    let secret = token("ghp_", &base62(36));
    let masker = Masker::default();
    let mut named = json!({ "a": [{ &secret: 1 }] });
    assert_eq!(masker.take_out(&mut named), Err(NotMasked::InName));
    let mut pinned = Masker::default();
    pinned.add("code", "^code=(?P<secret>[0-9]+)$").unwrap();
    assert_eq!(
        pinned.take_out(&mut json!({ "code": 12345 })),
        Err(NotMasked::Number)
    );
    assert_eq!(
        pinned.take_out(&mut json!({ "cod": 12345 })),
        Ok(Vec::new())
    );
    let mut many = json!(vec![secret.clone(); 257]);
    assert_eq!(masker.take_out(&mut many), Err(NotMasked::TooMany));
    let mut as_many = json!(vec![secret; 256]);
    assert_eq!(masker.take_out(&mut as_many).unwrap().len(), 256);
}

/// Puts back what was taken out.
fn put_back(arguments: &mut Value, taken: &[Taken]) {
    for one in taken.iter().rev() {
        let Some(Value::String(text)) = arguments.pointer_mut(&one.at) else {
            panic!("no text at {}", one.at);
        };
        let shown = shown(&one.kind, one.secret.chars().count());
        let end = one.start + shown.len();
        assert_eq!(text.get(one.start..end), Some(shown.as_str()));
        text.replace_range(one.start..end, &one.secret);
    }
}

fn piece() -> impl Strategy<Value = String> {
    let secrets: Vec<_> = known().into_iter().map(|one| one.1).collect();
    prop_oneof![
        proptest::sample::select(secrets),
        "[a-z:/@=‹› é\n\"~]{0,12}",
        Just("postgres://u:p@".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..5).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn nothing_that_is_found_stays_and_all_of_it_goes_back(
        words in proptest::collection::vec(text(), 0..4),
        named in text(),
    ) {
        let masker = Masker::default();
        let before = json!({ "argv": words, "env": { "A/~": named } });
        let mut after = before.clone();
        let taken = masker.take_out(&mut after).unwrap();
        for one in &taken {
            let Some(Value::String(text)) = after.pointer(&one.at) else { panic!("no text") };
            // What a block's first line says is no secret, even where it stands in one.
            let told = |other: &&Taken| other.secret.len() > 8 && !other.secret.contains("-----");
            for other in taken.iter().filter(|other| other.at == one.at).filter(told) {
                prop_assert!(!text.contains(other.secret.as_str()));
            }
        }
        put_back(&mut after, &taken);
        prop_assert_eq!(after, before);
    }

    #[test]
    fn found_secrets_are_in_order_and_apart(text in text()) {
        let masker = Masker::default();
        let mut end = 0;
        for found in masker.find(&text) {
            prop_assert!(found.range.start >= end && !found.range.is_empty());
            prop_assert!(text.get(found.range.clone()).is_some());
            end = found.range.end;
        }
    }
}
