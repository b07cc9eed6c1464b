//! Channels, and rules that tell them, that do not load.

use super::check;
use crate::fixture::{APPROVALS, MAIN, files};

const GOOD: &str = r#"[channel.slack]
kind = "slack"
team = "T0123"
app = "A0123"
bot_token = { env = "B" }
signing_secret = { env = "S" }
"#;

const MAIL: &str = r#"[channel.mail]
kind = "email"
server = "smtp.example.com:465"
from = "c@example.com"
"#;

#[test]
fn channels() {
    let lines = MAIN.lines().count();
    let app_token = "app_token = { env = \"A\" }\n";
    for (from, to, line, expected) in [
        (
            "[channel.slack]",
            "[channel.Slack]",
            1,
            "`Slack` cannot name a channel",
        ),
        (
            "[channel.slack]",
            "[channel.a/b]",
            1,
            "invalid table header",
        ),
        (
            "\"slack\"",
            "\"irc\"",
            2,
            "there are no channels of kind `irc`",
        ),
        ("T0123", "acme", 3, "`acme` is no `team` of Slack's"),
        ("T0123", "A0123", 3, "`A0123` is no `team` of Slack's"),
        ("A0123", "a0123", 4, "`a0123` is no `app` of Slack's"),
        ("team = \"T0123\"\n", "", 1, "missing field `team`"),
        (
            "bot_token = { env = \"B\" }\n",
            "",
            1,
            "missing field `bot_token`",
        ),
        ("{ env = \"B\" }", "\"xoxb-1\"", 5, "invalid type"),
        (
            "signing_secret = { env = \"S\" }\n",
            "",
            1,
            "a Slack channel has either",
        ),
        (
            "bot_token",
            &format!("{app_token}bot_token"),
            1,
            "a Slack channel has either",
        ),
        (
            "bot_token",
            "enterprise = \"T1\"\nbot_token",
            5,
            "`T1` is no `enterprise`",
        ),
        (
            "bot_token",
            "signed_in_within = \"1000d\"\nbot_token",
            5,
            "`signed_in_within` is",
        ),
        (
            "bot_token",
            "api = \"http://slack\"\nbot_token",
            5,
            "`api` it would be sent in the clear",
        ),
        (
            "bot_token",
            "colour = 1\nbot_token",
            5,
            "unknown field `colour`",
        ),
    ] {
        let added = GOOD.replacen(from, to, 1);
        let text = format!("{MAIN}{added}");
        let expected = match expected {
            "invalid table header" => format!("countersign.toml:{}: error:", lines + line),
            expected => format!("countersign.toml:{}: error: {expected}", lines + line),
        };
        let mut files = files("");
        files.insert("countersign.toml".into(), text);
        check(&files, &expected, &added);
    }
}

const TEAMS: &str = r#"[channel.teams]
kind = "teams"
tenant = "11111111-2222-3333-4444-555555555555"
app = "AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee"
secret = { env = "S" }
"#;

#[test]
fn channels_of_teams() {
    let lines = MAIN.lines().count();
    let mut good = files("");
    good.insert("countersign.toml".into(), format!("{MAIN}{TEAMS}"));
    crate::fixture::snapshot_of(&good);
    for (from, to, line, expected) in [
        (
            "11111111-2222",
            "contoso-2222",
            3,
            "`contoso-2222-3333-4444-555555555555` is no `tenant`",
        ),
        (
            "AAAAAAAA-",
            "",
            4,
            "`bbbb-cccc-dddd-eeeeeeeeeeee` is no `app` of Microsoft's",
        ),
        (
            "tenant = \"11111111-2222-3333-4444-555555555555\"\n",
            "",
            1,
            "missing field `tenant`",
        ),
        (
            "secret = { env = \"S\" }\n",
            "",
            1,
            "missing field `secret`",
        ),
        (
            "kind = \"teams\"\n",
            "",
            1,
            "the channel `teams` has no `kind`",
        ),
        (
            "secret",
            "team = \"T0123\"\nsecret",
            5,
            "unknown field `team`",
        ),
        ("\"teams\"", "\"slack\"", 5, "unknown field `secret`"),
        (
            "secret",
            "issuer = \"http://example.com\"\nsecret",
            5,
            "`issuer` it would be sent in the clear",
        ),
        (
            "secret",
            "token_url = \"http://example.com\"\nsecret",
            5,
            "`token_url` it would be sent",
        ),
        (
            "secret",
            "metadata_url = \"http://example.com\"\nsecret",
            5,
            "`metadata_url` it would be sent",
        ),
        (
            "secret",
            "service_url = \"https://a@b/\"\nsecret",
            5,
            "`service_url` it has a user",
        ),
    ] {
        let added = TEAMS.replacen(from, to, 1);
        let expected = format!("countersign.toml:{}: error: {expected}", lines + line);
        let mut files = files("");
        files.insert("countersign.toml".into(), format!("{MAIN}{added}"));
        check(&files, &expected, &added);
    }
}

#[test]
fn mails() {
    let lines = MAIN.lines().count();
    for (from, to, line, expected) in [
        ("\"email\"", "1", 1, "the channel `mail` has no `kind`"),
        (
            "kind = \"email\"\n",
            "",
            1,
            "the channel `mail` has no `kind`",
        ),
        ("from", "team = \"T1\"\nfrom", 4, "unknown field `team`"),
        (
            "server = \"smtp.example.com:465\"\n",
            "",
            1,
            "missing field `server`",
        ),
        (":465", "", 3, "`smtp.example.com` is no server of mails"),
        (
            ":465",
            ":0",
            3,
            "`smtp.example.com:0` is no server of mails",
        ),
        (":465", ":70000", 3, "`smtp.example.com:70000` is no server"),
        (
            "smtp.example.com",
            "a/b",
            3,
            "`a/b:465` is no server of mails",
        ),
        (
            "smtp.example.com",
            "[::x]",
            3,
            "`[::x]:465` is no server of mails",
        ),
        (
            "from",
            "tls = \"none\"\nfrom",
            4,
            "mails are sent in the clear to an address of this machine only",
        ),
        (
            "from",
            "tls = \"opportunistic\"\nfrom",
            4,
            "unknown variant `opportunistic`",
        ),
        (
            "from",
            "content = \"all\"\nfrom",
            4,
            "unknown variant `all`",
        ),
        (
            "from",
            "user = \"u\"\nfrom",
            1,
            "a channel of mails has `user` and `secret`, or neither",
        ),
        (
            "from",
            "secret = { env = \"S\" }\nfrom",
            1,
            "a channel of mails has `user` and `secret`, or neither",
        ),
        ("from", "secret = \"hunter2\"\nfrom", 4, "invalid type"),
        (
            "c@example.com",
            "Countersign <c@example.com>",
            4,
            "`Countersign <c@example.com>` is no address",
        ),
        (
            "c@example.com",
            "c@example.com\\r\\nBcc: eve@example.com",
            4,
            "`c@example.com",
        ),
    ] {
        let added = MAIL.replacen(from, to, 1);
        let mut files = files("");
        files.insert("countersign.toml".into(), format!("{MAIN}{added}"));
        let expected = format!("countersign.toml:{}: error: {expected}", lines + line);
        check(&files, &expected, &added);
    }
    // To this machine, and only by its address: a name can come to mean another one.
    for (server, is_good) in [
        ("127.0.0.1:25", true),
        ("[::1]:25", true),
        ("localhost:25", false),
    ] {
        let added = MAIL.replace("smtp.example.com:465", server);
        let mut files = files("");
        files.insert(
            "countersign.toml".into(),
            format!("{MAIN}{added}tls = \"none\"\n"),
        );
        let loaded = countersign_policy::Bundle::from_files(&files);
        assert_eq!(loaded.is_ok(), is_good, "{server}");
    }
}

#[test]
fn addresses_of_people() {
    let lines = MAIN.lines().count();
    let added = "[person.\"pat\"]\nemail = \"pat at home\"\n";
    let mut files = files("");
    files.insert("countersign.toml".into(), format!("{MAIN}{added}"));
    let expected = format!(
        "countersign.toml:{}: error: `pat at home` is no e-mail address",
        lines + 2
    );
    check(&files, &expected, added);
}

#[test]
fn what_is_told_nowhere() {
    let main = format!("{MAIN}{GOOD}{TEAMS}{MAIL}");
    let lines = APPROVALS.lines().count();
    for (notify, expected) in [
        ("chat", "there is no channel `chat`"),
        ("slack:", "`slack:` can't be told anything"),
        ("", "`` can't be told anything"),
        ("slack:#ops", "`slack:#ops` names no place"),
        ("slack:U0123", "`slack:U0123` names no place"),
        ("teams:DBA", "`teams:DBA` names no place"),
        ("teams:C0123", "`teams:C0123` names no place"),
        (
            "teams:19:@thread.v2",
            "`teams:19:@thread.v2` names no place",
        ),
        (
            "teams:19:a@thread.tacv2;messageid=1",
            "`teams:19:a@thread.tacv2;messageid=1` names no place",
        ),
        (
            "teams:19:a/b@thread.v2",
            "`teams:19:a/b@thread.v2` names no place",
        ),
        ("mail:ops", "`mail:ops` names no place"),
        (
            "mail:ops@example.com, eve@example.com",
            "`mail:ops@example.com, eve@example.com` names no place",
        ),
    ] {
        let rule = format!(
            "\n[approval.told]\nstages = [{{ from = [\"group:dba\"], count = 1 }}]\nnotify = [\"{notify}\"]\n"
        );
        let text = format!("{APPROVALS}{rule}");
        let mut files = files("");
        files.insert("countersign.toml".into(), main.clone());
        files.insert("approvals.toml".into(), text);
        let expected = format!("approvals.toml:{}: error: {expected}", lines + 2);
        check(&files, &expected, notify);
    }
}
