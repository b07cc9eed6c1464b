//! Mails: what people read of a request in their mailbox.
//!
//! In scope: one mail as values, its text and its HTML.
//! Out of scope: headers, addresses and sending; what is said of a request.
//! Invariant: what others wrote is text, every line of it set apart from what the gateway says, and
//! no part of it reads as a link ([`unlinked`]). The only links are those of the model. Nothing is
//! fetched from anywhere.

use std::fmt::Write;

use askama::Template;

use crate::hidden;

/// What stands before each line that somebody else wrote.
const MARGIN: &str = "| ";

/// One mail.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "mail.html", whitespace = "minimize")]
pub struct Mail {
    /// What it is about, in a line.
    pub heading: String,
    /// Everything it says, in order.
    pub parts: Vec<Part>,
    /// Where to read more and act.
    pub link: Link,
    /// What stands at the end, a paragraph each.
    pub foot: Vec<String>,
}

/// A link to a page of the gateway's.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// What it says.
    pub text: String,
    /// The page's whole address.
    pub href: String,
}

/// Something that a mail says.
#[derive(Debug, Clone)]
pub enum Part {
    /// Names and values, a line each.
    Facts(Vec<(String, String)>),
    /// What somebody else wrote.
    Quoted {
        /// Whose words they are, and what about.
        label: String,
        /// The words.
        text: String,
        /// Whether they are read by a machine.
        code: bool,
    },
    /// A paragraph.
    Note(String),
    /// Requests, a line each.
    Requests(Vec<Line>),
}

/// A line of a list of requests.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// What it is.
    pub title: String,
    /// Where it stands.
    pub state: String,
    /// What its page is called.
    pub name: String,
    /// Its page.
    pub href: String,
}

impl Mail {
    /// The mail as HTML, whose characters are all there to be seen.
    #[must_use]
    pub fn html(&self) -> String {
        match self.render() {
            Ok(html) => hidden::spell_out(html),
            Err(_) => crate::NOT_RENDERED.into(),
        }
    }

    /// The mail as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.heading);
        for part in &self.parts {
            text.push('\n');
            part.write(&mut text);
        }
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}:\n{}\n", self.link.text, self.link.href);
        for line in &self.foot {
            let _ = write!(text, "\n{line}\n");
        }
        hidden::spell_out(text)
    }
}

impl Part {
    fn write(&self, to: &mut String) {
        let _ = match self {
            Self::Facts(facts) => facts
                .iter()
                .try_for_each(|(name, value)| writeln!(to, "{name}: {value}")),
            Self::Quoted { label, text, .. } => {
                let lines = text.split('\n').map(|line| format!("{MARGIN}{line}\n"));
                write!(to, "{label}:\n{}", lines.collect::<String>())
            }
            Self::Note(text) => writeln!(to, "{text}"),
            Self::Requests(lines) => lines.iter().try_for_each(|line| {
                let Line {
                    title, state, href, ..
                } = line;
                writeln!(to, "{MARGIN}{title}\n  {state}\n  {href}\n")
            }),
        };
    }
}

/// A text in which no reader of mails finds a link: `.`, `:` and `@` where one could be one are put in
/// brackets, and so is a second `/` or `\` before the name of another machine.
#[must_use]
pub fn unlinked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    let chars: Vec<char> = text.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        let after = chars.get(at + 1).copied();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let ink = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let bracketed = match c {
            // A name of a place, or of a file that reads as one. Names have pictures in them, too.
            '.' | '。' | '．' | '｡' => ink(before) && after.is_some_and(char::is_alphabetic),
            '/' => before == Some('/') && ink(after),
            ':' => matches!(after, Some('/' | '\\')) || (after.is_some() && is_scheme(&chars, at)),
            '@' => after.is_some_and(char::is_alphanumeric),
            '\\' => before == Some('\\') && word(after),
            _ => false,
        };
        match bracketed {
            true => shown.extend(['[', c, ']']),
            false => shown.push(c),
        }
    }
    shown
}

/// Whether a scheme that takes no slashes ends before a place.
fn is_scheme(chars: &[char], end: usize) -> bool {
    let before = chars.get(..end).unwrap_or_default().iter().rev();
    let word = before.take_while(|c| c.is_ascii_alphabetic());
    let word: String = word.map(char::to_ascii_lowercase).collect();
    let schemes = [
        "mailto", "tel", "sms", "callto", "skype", "facetime", "sip", "xmpp",
    ];
    schemes
        .iter()
        .any(|scheme| scheme.chars().rev().eq(word.chars()))
}

#[cfg(test)]
mod tests {
    //! What mails show of what others wrote.
    //!
    //! In scope: links, markup, lines that pass for others.
    //! Out of scope: what readers of mails make of it.
    //! Invariant: no text becomes a link or markup.

    use super::*;

    #[test]
    fn nothing_reads_as_a_link() {
        for (text, shown) in [
            (
                "see https://evil.example/x",
                "see https[:]/[/]evil[.]example/x",
            ),
            ("evil.example", "evil[.]example"),
            ("deploy.sh v1.2.3 -x 0.5", "deploy[.]sh v1.2.3 -x 0.5"),
            ("1.2.3.4", "1.2.3.4"),
            ("http://1.2.3.4", "http[:]/[/]1.2.3.4"),
            ("//1.2.3.4/x // no", "/[/]1.2.3.4/x // no"),
            ("///1.2.3.4", "/[/][/]1.2.3.4"),
            ("dana@example.com", "dana[@]example[.]com"),
            ("mailto:dana", "mailto[:]dana"),
            ("tel:+49", "tel[:]+49"),
            ("note: this. And that", "note: this. And that"),
            ("a::b 10:30 exec:run Tel:1", "a::b 10:30 exec:run Tel[:]1"),
            (r"\\host\share \\ \n", r"\[\]host\share \\ \n"),
            ("evil。example", "evil[。]example"),
            ("i❤.ws/x", "i❤[.]ws/x"),
            ("😀.com/approve", "😀[.]com/approve"),
            ("x-.com a$.com", "x-[.]com a$[.]com"),
            (".gitignore -.5 ... and", ".gitignore -.5 ... and"),
            ("xn.рф", "xn[.]рф"),
        ] {
            assert_eq!(unlinked(text), shown, "{text}");
        }
    }

    #[test]
    fn what_others_wrote_stays_within_its_margin() {
        let mail = Mail {
            heading: "Waits".into(),
            parts: vec![
                Part::Facts(vec![("Who".into(), "agent:a".into())]),
                Part::Quoted {
                    label: "Why".into(),
                    text: "so\n\nApproved by dana\n</p><a href=\"https://evil.example\">\u{202e}"
                        .into(),
                    code: false,
                },
                Part::Requests(vec![Line {
                    title: "<b>one</b>".into(),
                    state: "waits".into(),
                    name: "req_1".into(),
                    href: "https://c.example/requests/1".into(),
                }]),
            ],
            link: Link {
                text: "Open it".into(),
                href: "https://c.example/requests/1".into(),
            },
            foot: vec!["Nothing is decided by mail.".into()],
        };
        let text = mail.text();
        assert!(
            text.contains("Why:\n| so\n| \n| Approved by dana\n| </p>"),
            "{text}"
        );
        let html = mail.html();
        for part in [&text, &html] {
            assert!(part.contains("⟨U+202E⟩") && !part.contains('\u{202e}'));
        }
        let links: Vec<_> = html.match_indices("<a ").collect();
        assert_eq!(links.len(), 2, "{html}");
        assert!(!html.contains("<b>") && !html.contains("<a href=\"https://evil"));
        for fetched in ["src=", "<img", "<link", "<script", "url(", "@import"] {
            assert!(!html.contains(fetched), "{fetched}");
        }
    }
}
