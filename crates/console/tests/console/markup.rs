//! Reading a page's markup, just enough for the tests.

/// One tag: its name (`/name` for an end) and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Tag {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The name and the attributes' names: what a field's content must never change.
    pub(crate) fn shape(&self) -> String {
        let names: Vec<_> = self
            .attributes
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        format!("{} {}", self.name, names.join(" "))
    }
}

/// Every tag of a page, in order.
pub(crate) fn tags(html: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let (tag, after) = read(rest);
        found.push(tag);
        rest = after;
    }
    found
}

fn read(text: &str) -> (Tag, &str) {
    let end = text.find([' ', '\n', '>']).expect("a tag ends");
    let name = text[..end].to_lowercase();
    let mut attributes = Vec::new();
    let mut rest = text[end..].trim_start();
    while !rest.starts_with(['>', '/']) {
        let end = rest.find(['=', ' ', '\n', '>']).expect("an attribute ends");
        assert!(end > 0, "an attribute has a name: {rest:.60}");
        let name = rest[..end].to_string();
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').expect("a value ends");
            value = unescape(&quoted[..end]);
            rest = &quoted[end + 1..];
        }
        attributes.push((name, value));
        rest = rest.trim_start();
    }
    let end = rest.find('>').expect("a tag is closed");
    (Tag { name, attributes }, &rest[end + 1..])
}

/// The text of a piece of markup, without its tags.
pub(crate) fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = read(&rest[at + 1..]).1;
    }
    text.push_str(rest);
    unescape(&text)
}

/// The markup between `start` and `end`.
pub(crate) fn between<'a>(html: &'a str, start: &str, end: &str) -> &'a str {
    let (_, after) = html.split_once(start).expect(start);
    after.split_once(end).expect(end).0
}

/// Every form of a page, from its start to its end.
pub(crate) fn forms(html: &str) -> Vec<&str> {
    let parts = html.split("<form ").skip(1);
    parts
        .map(|part| part.split_once("</form>").expect("a form ends").0)
        .collect()
}

fn unescape(text: &str) -> String {
    [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text.into(), |text: String, (entity, char)| {
        text.replace(entity, char)
    })
}
