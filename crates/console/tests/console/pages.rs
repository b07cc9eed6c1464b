//! What each page offers and says.

use countersign_console::{
    asset,
    inbox::{Filter, Tab},
    render,
    request::{Actions, OneClick, RequestPage},
};

use super::{
    hostile::Fill,
    markup::{between, forms, tags, text},
};
use crate::samples;

fn every_page() -> Vec<String> {
    let mut pages = vec![
        render(&samples::inbox()),
        render(&samples::inbox_decided()),
        render(&samples::people()),
        render(&samples::emergencies()),
        render(&samples::grants()),
        render(&samples::people_reader()),
        render(&samples::sign_in()),
        render(&samples::passkeys()),
        render(&samples::signed_out()),
        render(&samples::welcome()),
        render(&samples::error()),
        render(&samples::secret()),
    ];
    pages.extend(
        [
            samples::reviewer(),
            samples::own(),
            samples::answerer(),
            samples::too_long(),
            samples::approved(),
            samples::finished(),
            samples::advisory(),
            samples::confirmation(),
            samples::in_an_emergency(),
            samples::lifted(),
        ]
        .iter()
        .map(render),
    );
    for tab in [Tab::Waiting, Tab::Mine, Tab::Decided] {
        pages.push(render(&samples::inbox_empty(tab, Filter::default())));
    }
    pages.extend(Fill("x").pages().into_iter().map(|(_, html)| html));
    pages
}

#[test]
fn every_form_that_posts_carries_its_proofs() {
    for html in every_page() {
        for form in forms(&html) {
            if !form.starts_with("method=\"post\"") {
                assert!(
                    form.starts_with("method=\"get\" action=\"/inbox\""),
                    "{form}"
                );
                continue;
            }
            assert!(form.contains("name=\"csrf\""), "{form}");
            if form.contains("action=\"/requests/") {
                assert!(
                    form.contains("name=\"act\"") && form.contains("name=\"digest\""),
                    "{form}"
                );
            }
        }
    }
}

#[test]
fn every_page_has_landmarks_one_heading_and_unique_names() {
    for html in every_page() {
        let tags = tags(&html);
        for (name, count) in [
            ("main", 1),
            ("header", 1),
            ("footer", 1),
            ("h1", 1),
            ("title", 1),
        ] {
            let found = tags.iter().filter(|tag| tag.name == name).count();
            assert!(
                found == count || (name == "header" && found == 2),
                "{name}: {found}"
            );
        }
        assert!(html.contains("<a class=\"skip\" href=\"#main\">"));
        assert!(html.contains("aria-live=\"polite\""));
        let mut ids: Vec<_> = tags.iter().filter_map(|tag| tag.get("id")).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(
            ids.len(),
            all,
            "{}",
            text(between(&html, "<title>", "</title>"))
        );
        for tag in &tags {
            for key in ["for", "aria-labelledby", "list", "data-copy"] {
                if let Some(name) = tag.get(key) {
                    assert!(ids.contains(&name), "{key}={name} names nothing");
                }
            }
        }
    }
}

#[test]
fn assets_are_linked_by_their_hash() {
    let html = render(&samples::inbox());
    for name in ["console.css", "console.js", "logo.svg"] {
        let etag = asset(name).unwrap().etag.trim_matches('"');
        assert!(html.contains(&format!("/assets/{name}?v={etag}")), "{name}");
    }
}

#[test]
fn the_title_counts_what_waits_for_me() {
    let title = |html: &str| text(between(html, "<title>", "</title>"));
    let mut page = samples::inbox();
    page.shell.waiting = 2;
    assert_eq!(title(&render(&page)), "(2) Inbox · Countersign");
    page.shell.waiting = 0;
    assert_eq!(title(&render(&page)), "Inbox · Countersign");
}

/// The last parts of the addresses that a request's page posts to.
fn offered(page: &RequestPage) -> Vec<String> {
    let html = render(page);
    let main = between(&html, "<main", "</main>");
    let mut verbs: Vec<_> = tags(&format!("<main{main}"))
        .iter()
        .flat_map(|tag| [tag.get("action"), tag.get("formaction")])
        .flatten()
        .filter_map(|address| address.strip_prefix("/requests/req_01k9f3v7q2/"))
        .map(String::from)
        .collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

#[test]
fn only_offered_actions_have_forms() {
    for (page, expected) in [
        (samples::reviewer(), "amend approve ask comment deny"),
        (samples::own(), "answer cancel comment"),
        (samples::approved(), "cancel claim comment"),
        (samples::confirmation(), "approve cancel comment deny"),
        (samples::finished(), ""),
    ] {
        assert_eq!(offered(&page).join(" "), expected);
    }
    let asking = RequestPage {
        actions: Actions {
            ask: true,
            withdraw: true,
            ..Actions::default()
        },
        ..samples::own()
    };
    assert_eq!(offered(&asking).join(" "), "ask withdraw");
}

#[test]
fn the_page_says_why_the_viewer_cannot_decide() {
    let html = render(&samples::own());
    assert!(html.contains("You own agent deploy-bot, which asked. Somebody else must decide."));
    assert!(!html.contains("class=\"bar\""));
}

#[test]
fn the_whole_action_is_on_the_page_as_it_is() {
    for body in [
        "SELECT 1",
        "\n\nleading lines & <b>\"quotes\"</b>\n\n  trailing  \n",
        "tab\there, Grüße, {{ braces }}",
    ] {
        let mut page = samples::reviewer();
        page.what.body = body.into();
        let html = render(&page);
        let shown = between(&html, "aria-label=\"The action\"><code>", "</code></pre>");
        // The end of the last line is no line of its own.
        let lines = body.strip_suffix('\n').unwrap_or(body);
        assert_eq!(text(shown), format!("{lines}\n"));
    }
}

#[test]
fn the_first_eight_digits_stand_out_and_the_rest_is_complete() {
    let page = samples::reviewer();
    let html = render(&page);
    let shown = between(&html, "<code id=\"digest\"", "</code>");
    assert!(shown.contains("<strong>3f9a2c1e</strong>"));
    assert_eq!(text(&format!("<code{shown}")), page.what.digest);
    for digest in ["", "3f9a", "日本語日本語"] {
        let mut page = samples::reviewer();
        page.what.digest = digest.into();
        assert!(render(&page).contains(digest), "{digest}");
    }
}

#[test]
fn digits_are_typed_only_where_one_click_is_not_enough() {
    assert!(!render(&samples::reviewer()).contains("name=\"typed_digest\""));
    let mut page = samples::too_long();
    let html = render(&page);
    assert!(html.contains("name=\"typed_digest\""));
    assert!(html.contains("One click is not enough."));
    assert!(html.contains("This is not the whole action."));
    page.actions.approve.as_mut().unwrap().one_click = OneClick::Enough;
    assert!(!render(&page).contains("name=\"typed_digest\""));
}

#[test]
fn what_reads_as_something_else_is_pointed_out() {
    let mut page = samples::reviewer();
    let warning = "Contains invisible or look-alike characters.";
    assert!(!render(&page).contains(warning));
    page.what.unusual = vec!["long runs of <blanks>".into()];
    let html = render(&page);
    assert!(html.contains(warning) && html.contains("long runs of &#60;blanks&#62;"));
}

#[test]
fn a_confirmation_is_never_called_an_approval() {
    let html = render(&samples::confirmation());
    assert!(html.contains("Confirm this action"));
    assert!(html.contains("This is a confirmation, not a countersignature"));
    assert!(!html.contains("Approve this action") && !html.contains("Yours is the last signature"));
}

#[test]
fn what_is_stated_is_marked_as_stated() {
    let html = render(&samples::reviewer());
    assert!(html.contains("agent's own words, not verified"));
    assert!(html.contains("Origin <span class=\"tag stated\">stated, not verified</span>"));
}

#[test]
fn an_advisory_gate_is_marked_and_an_enforcing_one_is_not() {
    assert!(render(&samples::advisory()).contains("<strong>Advisory gate.</strong>"));
    assert!(!render(&samples::reviewer()).contains("Advisory gate"));
}

#[test]
fn pages_that_stand_alone_do_not_refresh() {
    for (name, html) in Fill("x").pages() {
        let alone = [
            "sign-in",
            "signed-out",
            "welcome",
            "going",
            "error",
            "secret",
        ]
        .contains(&name);
        assert_eq!(html.contains("data-page="), !alone, "{name}");
    }
}
