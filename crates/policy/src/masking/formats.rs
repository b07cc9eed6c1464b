//! The formats of secrets that are known everywhere.
//!
//! In scope: tokens with a prefix or a shape of their own, private keys, passwords in addresses.
//! Out of scope: secrets that look like any other text; configuration names the patterns of those.
//! Invariant: a pattern's secret has the fewest characters that its issuer uses, so that what stands
//! beside it stays readable. What only identifies (account and key ids) is no secret.
//! Source: the issuers' own documentation of their formats; RFC 3986 section 3.2, RFC 7468,
//! RFC 7519, RFC 7617, RFC 6750.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// One format.
pub(super) struct Format {
    /// What it is called where it is masked.
    pub(super) kind: &'static str,
    regex: Regex,
    /// Whether the format leaves no room for anything but the secret.
    pub(super) strict: bool,
}

impl Format {
    /// The secret within a match.
    pub(super) fn matches<'t>(&self, text: &'t str) -> impl Iterator<Item = regex::Match<'t>> {
        self.regex
            .captures_iter(text)
            .filter_map(|found| secret(&found))
    }
}

/// The group `secret` of a match, or all of it.
pub(super) fn secret<'t>(found: &Captures<'t>) -> Option<regex::Match<'t>> {
    found.name("secret").or_else(|| found.get(0))
}

/// Kind and pattern; the group `secret` where not all of the match is one.
const STRICT: &[(&str, &str)] = &[
    ("github-token", r"gh[opsur]_[A-Za-z0-9]{36,}"),
    ("github-token", r"github_pat_[A-Za-z0-9_]{22,}"),
    (
        "gitlab-token",
        r"gl(?:pat|ptt|dt|rt|cbt|oas|soat|imt|agent|ft)-[A-Za-z0-9_.-]{20,}",
    ),
    ("slack-token", r"xox[abceoprs]-[A-Za-z0-9-]{10,}"),
    ("slack-token", r"xapp-[0-9]-[A-Za-z0-9-]{10,}"),
    (
        "aws-secret-key",
        r#"(?i:aws_?secret_?access_?key)["']?\s*[:=]\s*["']?(?P<secret>[A-Za-z0-9/+]{40})"#,
    ),
    ("google-api-key", r"AIza[A-Za-z0-9_-]{35,}"),
    ("google-token", r"(?-u:\b)ya29\.[A-Za-z0-9_-]{20,}"),
    ("google-client-secret", r"GOCSPX-[A-Za-z0-9_-]{28,}"),
    (
        "azure-key",
        r"(?i:AccountKey|SharedAccessKey)=(?P<secret>[A-Za-z0-9+/]{43,}={0,2})",
    ),
    (
        "azure-client-secret",
        r"[A-Za-z0-9_~.]{3}8Q~[A-Za-z0-9_~.-]{31,}",
    ),
    ("anthropic-key", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    (
        "openai-key",
        r"(?-u:\b)sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}",
    ),
    ("openai-key", r"(?-u:\b)sk-[A-Za-z0-9]{40,}"),
    ("stripe-key", r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}"),
    ("webhook-secret", r"whsec_[A-Za-z0-9+/]{24,}={0,2}"),
    ("npm-token", r"npm_[A-Za-z0-9]{36,}"),
    ("pypi-token", r"pypi-[A-Za-z0-9_-]{50,}"),
    ("rubygems-key", r"rubygems_[0-9a-f]{48}"),
    ("crates-token", r"(?-u:\b)cio[A-Za-z0-9]{32,}"),
    ("nuget-key", r"(?-u:\b)oy2[a-z0-9]{43}"),
    ("docker-token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("digitalocean-token", r"do[opr]_v1_[0-9a-f]{64}"),
    ("vault-token", r"(?-u:\b)hv[bsr]\.[A-Za-z0-9_-]{20,}"),
    (
        "terraform-token",
        r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}",
    ),
    (
        "sendgrid-key",
        r"(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    ),
    ("mailgun-key", r"(?-u:\b)key-[0-9a-f]{32}"),
    ("shopify-token", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),
    ("databricks-token", r"(?-u:\b)dapi[0-9a-f]{32}"),
    ("linear-key", r"lin_api_[A-Za-z0-9]{40}"),
    ("notion-token", r"(?-u:\b)ntn_[A-Za-z0-9]{40,}"),
    ("huggingface-token", r"(?-u:\b)hf_[A-Za-z0-9]{30,}"),
    ("grafana-token", r"(?-u:\b)glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    ("newrelic-key", r"NRAK-[A-Z0-9]{27}"),
    ("pulumi-token", r"(?-u:\b)pul-[0-9a-f]{40}"),
    (
        "doppler-token",
        r"(?-u:\b)dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,}",
    ),
    ("atlassian-token", r"ATATT3[A-Za-z0-9_=-]{50,}"),
    ("postman-key", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("figma-token", r"figd_[A-Za-z0-9_-]{40,}"),
    ("supabase-token", r"sbp_[0-9a-f]{40}"),
    (
        "airtable-token",
        r"(?-u:\b)pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    ),
    ("netlify-token", r"(?-u:\b)nfp_[A-Za-z0-9]{36,}"),
    (
        "planetscale-token",
        r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,}",
    ),
    ("telegram-token", r"(?-u:\b)[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("age-key", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("countersign-secret", r"(?-u:\b)cs[lst]_[A-Za-z0-9_-]{43}"),
    (
        "jwt",
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    ),
];

/// The same for what can be any text, or nearly.
const LOOSE: &[(&str, &str)] = &[
    (
        "slack-webhook",
        r"hooks\.slack\.com/(?:services|triggers|workflows)/(?P<secret>[A-Za-z0-9/_-]{20,})",
    ),
    (
        "discord-webhook",
        r"discord(?:app)?\.com/api/webhooks/[0-9]+/(?P<secret>[A-Za-z0-9_-]{40,})",
    ),
    (
        "teams-webhook",
        r"\.webhook\.office\.com/webhookb2/(?P<secret>[A-Za-z0-9@/_-]{40,})",
    ),
    (
        "azure-signature",
        r"[?&]sig=(?P<secret>[A-Za-z0-9%+/_-]{43,}={0,2})",
    ),
    (
        "authorization",
        r#"(?i:authorization)["']?\s*[:=]\s*["']?(?i:bearer|basic|token) +(?P<secret>[A-Za-z0-9][A-Za-z0-9._~+/-]{7,}=*)"#,
    ),
    (
        "private-key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<secret>(?s:.)+?)(?:-----END |\z)",
    ),
    // To the last `@` before the path: what a client takes for the host is never masked.
    (
        "password",
        r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:"<>`]*:(?P<secret>[^\s/?#"<>`]+)@"#,
    ),
];

/// Every format, with one pattern for all of them: most texts have no secret.
pub(super) struct Formats {
    any: Regex,
    pub(super) all: Vec<Format>,
}

impl Formats {
    /// Whether there is any of them in a text.
    pub(super) fn in_text(&self, text: &str) -> bool {
        self.any.is_match(text)
    }
}

/// The formats; `None` if one of the patterns above were wrong, which a test rules out.
pub(super) static FORMATS: LazyLock<Option<Formats>> = LazyLock::new(|| {
    let strict = STRICT.iter().map(|one| (one, true));
    let loose = LOOSE.iter().map(|one| (one, false));
    let mut all = Vec::new();
    let mut any = Vec::new();
    for ((kind, pattern), strict) in strict.chain(loose) {
        let regex = Regex::new(pattern).ok()?;
        any.push(format!("(?:{})", pattern.replace("?P<secret>", "?:")));
        all.push(Format {
            kind,
            regex,
            strict,
        });
    }
    let any = Regex::new(&any.join("|")).ok()?;
    Some(Formats { any, all })
});
