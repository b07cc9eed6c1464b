//! Streams that do not load.

use super::check;
use crate::fixture::{MAIN, files};

#[test]
fn streams() {
    let lines = MAIN.lines().count();
    for (added, line, expected) in [
        (
            "[stream.Siem]\nkind = \"ocsf\"\npath = \"a\"",
            1,
            "`Siem` cannot name a stream",
        ),
        (
            "[stream.x]\nkind = \"syslog\"",
            2,
            "there are no streams of kind `syslog`",
        ),
        ("[stream.x]\nkind = \"ocsf\"", 1, "the stream has no `path`"),
        (
            "[stream.x]\nkind = \"ocsf\"\npath = \"../keys/log.key\"",
            3,
            "`../keys/log.key` can't be the path of a stream",
        ),
        (
            "[stream.x]\nkind = \"ocsf\"\npath = \"a\"\nurl = \"https://a\"",
            1,
            "a stream of kind `ocsf` has no `url`",
        ),
        (
            "[stream.x]\nkind = \"ocsf\"\npath = \"a\"\nmax_bytes = 10",
            4,
            "`10` is out of bounds",
        ),
        (
            "[stream.x]\nkind = \"ocsf\"\npath = \"a\"\ndetails = \"everything\"",
            4,
            "unknown variant `everything`",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nsecret = { env = \"A\" }",
            1,
            "the stream has no `url`",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nurl = \"https://a\"",
            1,
            "the stream has no `secret`",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nurl = \"http://a\"\nsecret = { env = \"A\" }",
            3,
            "nothing is sent to `http://a`: it would be sent in the clear",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nurl = \"https://a\"\nsecret = { env = \"A\", file = \"b\" }",
            4,
            "the secret has not one source",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nurl = \"https://a\"\nsecret = { env = \"A\" }\nretry_for = \"30d\"",
            5,
            "`30d` is out of bounds",
        ),
        ("[stream.x]\nkind = \"otlp\"", 1, "the stream has no `url`"),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"http://a/v1/traces\"",
            3,
            "nothing is sent to `http://a/v1/traces`: it would be sent in the clear",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\npath = \"a\"",
            1,
            "a stream of kind `otlp` has no `path`",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\nsecret_header = \"x-key\"",
            4,
            "the stream has a `secret_header` and no `secret`",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\nsecret = { env = \"A\" }\nsecret_header = \"Host\"",
            5,
            "`Host` can't be a header of a stream",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\nheaders = { content-type = \"a\" }",
            4,
            "`content-type` can't be a header of a stream",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\nheaders = { x-team = \"a\\r\\nb\" }",
            4,
            "the header `x-team` can't have this value",
        ),
        (
            "[stream.x]\nkind = \"otlp\"\nurl = \"https://a\"\nheaders = { authorization = \"Basic abc\" }",
            4,
            "the header `authorization` would be shown to reviewers",
        ),
        (
            "[stream.x]\nkind = \"webhook\"\nurl = \"https://a\"\nsecret = { env = \"A\" }\nheaders = { x = \"a\" }",
            1,
            "a stream of kind `webhook` has no `headers`",
        ),
    ] {
        let mut files = files("");
        files.insert("countersign.toml".into(), format!("{MAIN}{added}"));
        check(
            &files,
            &format!("countersign.toml:{}: error: {expected}", lines + line),
            added,
        );
    }
}
