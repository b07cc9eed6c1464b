//! Whatever a field contains, a page's markup stays the same.

use countersign_console::hidden::is_hiding;

use super::{
    hostile::Fill,
    markup::{Tag, tags},
};

const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onfocus='alert(1)' autofocus='",
    "</textarea></code></pre></title><svg/onload=alert(1)>",
    "javascript:alert(1)//&lt;&#60;{{ 7 * 7 }}{% raw %}",
    "--><!--]]><a href=//evil.example>",
];

fn shapes(html: &str) -> Vec<String> {
    tags(html).iter().map(Tag::shape).collect()
}

#[test]
fn hostile_text_in_every_field_leaves_the_markup_alone() {
    for text in HOSTILE {
        // Of the same length, so that a digest falls into as many groups.
        let harmless = Fill(&"x".repeat(text.len())).pages();
        for ((name, hostile), (_, plain)) in Fill(text).pages().iter().zip(&harmless) {
            assert_eq!(shapes(hostile), shapes(plain), "{name}: {text}");
        }
    }
}

#[test]
fn no_address_leaves_the_installation() {
    for text in HOSTILE {
        for (name, html) in Fill(text).pages() {
            for tag in tags(&html) {
                for key in ["href", "src", "action", "formaction"] {
                    let value = tag.get(key).unwrap_or("/");
                    let same_site = value.starts_with(['/', '#', '?']) && !value.starts_with("//");
                    assert!(same_site, "{name}: {key}={value}");
                }
            }
        }
    }
}

#[test]
fn hiding_characters_leave_no_page() {
    let text = "a\u{202e}b\u{2066}c\u{1b}[31md\u{200b}e\u{9b}f\0g\u{feff}h\r\u{e0041}i\u{3164}";
    for (name, html) in Fill(text).pages() {
        let found: String = html.chars().filter(|char| is_hiding(*char)).collect();
        assert!(found.is_empty(), "{name}: {}", found.escape_unicode());
        assert!(html.contains("⟨U+202E⟩b⟨U+2066⟩c⟨U+001B⟩[31m"), "{name}");
    }
}
