//! `countersign whoami`: whom the gateway takes the caller for.

use countersign_core::time::Timestamp;

use super::{
    client::{At, Client},
    clock::now,
    config::Sources,
    failure::Failure,
    output::Output,
    text::{self, Paint, shown},
};
use crate::api::types::WhoAmI;

/// Asks the gateway.
///
/// # Errors
/// When it can't be reached or does not know the token.
pub(crate) async fn run(sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let who: WhoAmI = client.get(At::new(&["whoami"])).await?;
    output.result(&who, |who, paint| {
        page(who, client.base().as_str(), now(), paint)
    })?;
    Ok(0)
}

fn page(who: &WhoAmI, url: &str, now: Timestamp, paint: Paint) -> String {
    let mut values = vec![
        ("gateway", url.to_owned()),
        ("groups", text::list(&who.groups)),
        ("signed in by", shown(&who.credential)),
        (
            "until",
            format!("{} ({})", who.expires, text::relative(who.expires, now)),
        ),
    ];
    if !who.on_behalf_of.is_empty() {
        values.push(("acts for", text::list(&who.on_behalf_of)));
    }
    if let Some(owner) = &who.owner {
        values.push(("owner", shown(owner)));
    }
    format!(
        "{}\n{}",
        paint.bold(&shown(&who.subject)),
        text::pairs(2, &values, paint)
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn everything_known_is_shown() {
        let who = WhoAmI {
            issued: None,
            subject: "agent:deploy-bot".into(),
            groups: vec!["agents".into(), "ci".into()],
            owner: Some("olga@example.com".into()),
            on_behalf_of: Vec::new(),
            credential: "token".into(),
            expires: Timestamp(86_400_000),
        };
        expect![[r#"
            agent:deploy-bot
              gateway       https://gate.example.com/
              groups        agents, ci
              signed in by  token
              until         1970-01-02T00:00:00.000Z (in 24h)
              owner         olga@example.com"#]]
        .assert_eq(&page(
            &who,
            "https://gate.example.com/",
            Timestamp(0),
            Paint::plain(),
        ));
    }
}
