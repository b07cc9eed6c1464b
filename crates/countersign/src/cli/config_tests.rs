//! Which settings count, and which are refused.

use super::*;

fn sources(url: Option<&str>, token: Option<&str>, file: &Path) -> Sources {
    Sources {
        url: url.map(str::to_owned),
        identity: Default::default(),
        token: token.map(str::to_owned),
        ca: None,
        file: Some(file.to_owned()),
    }
}

/// A job whose secret is missing does not go on as whoever signed in on its machine.
#[test]
fn what_is_set_to_nothing_is_no_reason_to_use_what_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.toml");
    let url = gateway("https://gate.example.com").unwrap();
    write(&file, &url, &Token::new("saved").unwrap(), None).unwrap();
    let blank = [
        sources(Some(" "), None, &file),
        sources(None, Some(""), &file),
        sources(None, Some("\n"), &file),
        Sources {
            ca: Some(PathBuf::new()),
            ..sources(None, None, &file)
        },
    ];
    for sources in blank {
        let failure = sources.settings().unwrap_err();
        assert_eq!(failure.exit, super::super::failure::USAGE, "{failure}");
        assert!(failure.title.contains("is set, and empty"), "{failure}");
        assert!(sources.ca(&url).is_err());
    }
    assert!(sources(None, None, &file).settings().is_ok());
}

#[test]
fn only_safe_addresses_are_gateways() {
    for (text, url) in [
        ("https://gate.example.com", "https://gate.example.com/"),
        (
            "https://example.com/countersign",
            "https://example.com/countersign/",
        ),
        ("http://127.0.0.1:8372", "http://127.0.0.1:8372/"),
        ("http://127.8.8.8/", "http://127.8.8.8/"),
        ("http://[::1]:1", "http://[::1]:1/"),
        ("http://LOCALHOST:8372", "http://localhost:8372/"),
    ] {
        assert_eq!(gateway(text).unwrap().as_str(), url);
    }
    for bad in [
        "",
        "gate.example.com",
        "http://gate.example.com",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "ftp://localhost",
        "https://user@gate.example.com",
        "https://gate.example.com/?x=1",
        "https://gate.example.com/#x",
    ] {
        assert_eq!(
            gateway(bad).map_err(|failure| failure.exit),
            Err(69),
            "{bad}"
        );
    }
}

#[test]
fn the_environment_counts_before_the_file_and_a_token_stays_with_its_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/client.toml");
    let url = gateway("https://a.example.com").unwrap();
    write(&file, &url, &Token::new("saved").unwrap(), None).unwrap();
    for (given_url, given_token, host, token) in [
        (None, None, "a.example.com", Some("saved")),
        (None, Some("given"), "a.example.com", Some("given")),
        (
            Some("https://a.example.com/"),
            None,
            "a.example.com",
            Some("saved"),
        ),
        (Some("https://b.example.com"), None, "b.example.com", None),
        (
            Some("https://b.example.com"),
            Some("given"),
            "b.example.com",
            Some("given"),
        ),
    ] {
        let settings = sources(given_url, given_token, &file).settings().unwrap();
        assert_eq!(settings.url.host_str(), Some(host));
        assert_eq!(settings.token.as_ref().map(Token::secret), token);
        assert!(!format!("{settings:?}").contains("saved\""));
    }
}

#[test]
fn without_any_gateway_the_next_step_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let failure = sources(None, Some("t"), &folder.path().join("none"))
        .settings()
        .unwrap_err();
    assert_eq!(failure.exit, 69);
    assert!(failure.detail.unwrap().contains("countersign login"));
}

#[test]
fn files_are_written_for_the_owner_alone_and_refused_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign/client.toml");
    let url = gateway("http://localhost:1").unwrap();
    write(&file, &url, &Token::new(r#"to"k\en"#).unwrap(), None).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let saved = read(&file).unwrap().unwrap();
    assert_eq!(saved.token.unwrap().secret(), r#"to"k\en"#);

    for mode in [0o604, 0o640, 0o620, 0o644] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let failure = read(&file).unwrap_err();
        assert!(
            failure.title.contains(&format!("mode {mode:03o}")),
            "{}",
            failure.title
        );
        assert!(failure.detail.unwrap().contains("chmod 600"));
    }
}

#[test]
fn wrong_files_are_refused_without_repeating_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.toml");
    for text in [
        "token = \"hush\"\n",
        "url = 1\n",
        "url = \"x\"\ntokn = \"hush\"\n",
        "hush",
    ] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let failure = read(&file).unwrap_err();
        assert!(!failure.title.contains("hush"), "{}", failure.title);
    }
}

#[test]
fn a_saved_authority_vouches_for_its_own_gateway_only() {
    let folder = tempfile::tempdir().unwrap();
    let (file, ca) = (folder.path().join("client.toml"), folder.path().join("ca"));
    fs::write(&ca, "").unwrap();
    let url = gateway("https://a.example.com").unwrap();
    write(&file, &url, &Token::new("t").unwrap(), Some(&ca)).unwrap();
    let found = |given: Option<&str>, url| {
        let mut sources = sources(Some(url), None, &file);
        sources.ca = given.map(PathBuf::from);
        let settings = sources.settings().unwrap();
        assert_eq!(sources.ca(&settings.url).unwrap(), settings.ca);
        settings.ca
    };
    let saved = Some(ca.canonicalize().unwrap());
    assert_eq!(found(None, "https://a.example.com"), saved);
    assert_eq!(found(None, "https://b.example.com"), None);
    let given = Some(PathBuf::from("given"));
    assert_eq!(found(Some("given"), "https://a.example.com"), given);
    assert_eq!(found(Some("given"), "https://b.example.com"), given);

    fs::write(&file, "url = \"https://a.example.com\"\nca = \"ca.pem\"\n").unwrap();
    let failure = sources(None, None, &file).settings().unwrap_err();
    assert!(failure.title.contains("`ca.pem`"), "{}", failure.title);
}

#[test]
fn tokens_are_visible_ascii() {
    assert_eq!(Token::new(" abc\n").unwrap().secret(), "abc");
    for bad in ["", "a b", "a\nb", "é", &"x".repeat(5000)] {
        assert!(Token::new(bad).is_err(), "{bad}");
    }
}
