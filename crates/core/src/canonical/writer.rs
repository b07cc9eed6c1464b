//! Canonical JSON written straight from what serialises, without a JSON value in between.
//!
//! In scope: every type that serde knows, as `serde_json` makes JSON of it.
//! Out of scope: how single texts and numbers are written, which [`super`] has for values, too.
//! Invariant: the bytes are those of the value that `serde_json` makes; where it refuses, so does
//! this. A test holds one against the other.

use std::{cmp::Ordering, fmt::Display};

use serde::{
    Serialize, Serializer,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::{Number, Value};

use super::{NotCanonical, write_number, write_text};

/// What `serde_json` calls its own types that are not what they look like.
const PRIVATE: &str = "$serde_json::private::";

impl ser::Error for NotCanonical {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// Appends one value.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl<'a> Writer<'a> {
    fn plain(self, text: &str) -> Result<(), NotCanonical> {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn number(self, number: impl Into<Number>) -> Result<(), NotCanonical> {
        write_number(&number.into(), self.0)
    }

    fn items(self, close: &'static str) -> Items<'a> {
        self.0.push(b'[');
        Items {
            out: self.0,
            is_first: true,
            close,
        }
    }

    fn fields(self, close: &'static str) -> Fields<'a> {
        Fields {
            begin: self.0.len(),
            out: self.0,
            entries: Vec::new(),
            is_sorted: true,
            close,
        }
    }

    /// Begins `{"VARIANT":`.
    fn variant(self, variant: &str) -> Result<Self, NotCanonical> {
        self.0.push(b'{');
        write_text(variant, self.0)?;
        self.0.push(b':');
        Ok(self)
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), NotCanonical> {
        self.plain(if value { "true" } else { "false" })
    }
    fn serialize_i8(self, value: i8) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_i16(self, value: i16) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_i32(self, value: i32) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_i64(self, value: i64) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_u8(self, value: u8) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_u16(self, value: u16) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_u32(self, value: u32) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_u64(self, value: u64) -> Result<(), NotCanonical> {
        self.number(value)
    }
    fn serialize_i128(self, value: i128) -> Result<(), NotCanonical> {
        self.number(i64::try_from(value).map_err(|_| NotCanonical)?)
    }
    fn serialize_u128(self, value: u128) -> Result<(), NotCanonical> {
        self.number(u64::try_from(value).map_err(|_| NotCanonical)?)
    }
    fn serialize_f32(self, value: f32) -> Result<(), NotCanonical> {
        self.serialize_f64(value.into())
    }
    fn serialize_f64(self, value: f64) -> Result<(), NotCanonical> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => self.serialize_unit(),
        }
    }
    fn serialize_char(self, value: char) -> Result<(), NotCanonical> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), NotCanonical> {
        write_text(value, self.0)
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), NotCanonical> {
        self.collect_seq(value)
    }
    fn serialize_none(self) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), NotCanonical> {
        self.plain("null")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NotCanonical> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        let inner = self.variant(variant)?;
        value.serialize(Writer(inner.0))?;
        inner.0.push(b'}');
        Ok(())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, NotCanonical> {
        Ok(self.items("]"))
    }
    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, NotCanonical> {
        Ok(self.items("]"))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, NotCanonical> {
        Ok(self.items("]"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'a>, NotCanonical> {
        Ok(self.variant(variant)?.items("]}"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, NotCanonical> {
        Ok(self.fields("}"))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a>, NotCanonical> {
        // Raw JSON would have to be read to be put in order; nothing that is hashed has any.
        match name.starts_with(PRIVATE) {
            true => Err(NotCanonical),
            false => Ok(self.fields("}")),
        }
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, NotCanonical> {
        Ok(self.variant(variant)?.fields("}}"))
    }
}

/// An array in the making.
pub(super) struct Items<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    close: &'static str,
}

impl Items<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        value.serialize(Writer(self.out))
    }

    fn close(self) -> Result<(), NotCanonical> {
        Writer(self.out).plain(self.close)
    }
}

macro_rules! items {
    ($($kind:ident $add:ident,)*) => {$(
        impl $kind for Items<'_> {
            type Ok = ();
            type Error = NotCanonical;
            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
                self.item(value)
            }
            fn end(self) -> Result<(), NotCanonical> {
                self.close()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

/// Where a field of an object stands: one byte, to be a brace or a comma, its name, a colon, its
/// value.
#[derive(Clone, Copy)]
struct Entry {
    begin: usize,
    colon: usize,
}

/// An object in the making: fields are written as they come and put in order at the end.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    entries: Vec<Entry>,
    is_sorted: bool,
    close: &'static str,
}

impl Fields<'_> {
    fn name(
        &mut self,
        name: impl FnOnce(&mut Vec<u8>) -> Result<(), NotCanonical>,
    ) -> Result<(), NotCanonical> {
        let begin = self.out.len();
        self.out.push(b',');
        name(self.out)?;
        let colon = self.out.len();
        self.out.push(b':');
        let entry = Entry { begin, colon };
        let is_behind = |last: &Entry| compare(self.out, last, &entry) == Ordering::Less;
        self.is_sorted &= self.entries.last().is_none_or(is_behind);
        self.entries.push(entry);
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.name(|out| write_text(name, out))?;
        value.serialize(Writer(self.out))
    }

    fn close(mut self) -> Result<(), NotCanonical> {
        if !self.is_sorted {
            self.sort();
        }
        let out = self.out;
        match out.get_mut(self.begin) {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        Writer(out).plain(self.close)
    }

    /// Of fields of the same name the last counts, as in a map.
    fn sort(&mut self) {
        let out = &*self.out;
        let ends = self.entries.iter().skip(1).map(|next| next.begin);
        let ends = ends.chain([out.len()]);
        let mut fields: Vec<(Entry, usize)> = self.entries.iter().copied().zip(ends).collect();
        fields.sort_by(|(one, _), (other, _)| compare(out, one, other));
        let mut sorted = Vec::with_capacity(out.len() - self.begin);
        let mut rest = fields.iter().peekable();
        while let Some((entry, end)) = rest.next() {
            let is_last =
                |(next, _): &&(Entry, usize)| compare(out, entry, next) != Ordering::Equal;
            if rest.peek().is_none_or(is_last) {
                sorted.extend_from_slice(out.get(entry.begin..*end).unwrap_or_default());
            }
        }
        self.out.truncate(self.begin);
        self.out.append(&mut sorted);
    }
}

impl SerializeMap for Fields<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotCanonical> {
        self.name(|out| {
            let begin = out.len();
            if key.serialize(Writer(out)).is_ok() && out.get(begin) == Some(&b'"') {
                return Ok(());
            }
            out.truncate(begin);
            write_text(&name_of(key)?, out)
        })
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(Writer(self.out))
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.field(name, value)
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

impl SerializeStructVariant for Fields<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.field(name, value)
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

/// What a map's key that is no text is as the name of a field.
fn name_of<T: Serialize + ?Sized>(key: &T) -> Result<String, NotCanonical> {
    match serde_json::value::Serializer.collect_map([(key, ())]) {
        Ok(Value::Object(fields)) => fields.into_iter().next().map(|(name, _)| name),
        _ => None,
    }
    .ok_or(NotCanonical)
}

/// The order of RFC 8785, by UTF-16 code units. Where nothing is escaped and all is ASCII, what is
/// written has the same.
fn compare(out: &[u8], one: &Entry, other: &Entry) -> Ordering {
    // Between the quotes.
    let name = |entry: &Entry| out.get(entry.begin + 2..entry.colon - 1);
    let [one, other] = [one, other].map(|entry| name(entry).unwrap_or_default());
    let is_plain = |name: &[u8]| name.is_ascii() && !name.contains(&b'\\');
    if is_plain(one) && is_plain(other) {
        return one.cmp(other);
    }
    let units = |name: &[u8]| {
        let quoted = [b"\"", name, b"\""].concat();
        let text: String = serde_json::from_slice(&quoted).unwrap_or_default();
        text.encode_utf16().collect::<Vec<u16>>()
    };
    units(one).cmp(&units(other))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Serialize;
    use serde_json::{json, value::RawValue};

    use super::*;
    use crate::canonical::{json_to_canonical, to_canonical};

    #[derive(Serialize)]
    struct Inner {
        z: Option<&'static str>,
        a: (u8, char),
        #[serde(rename = "\u{1f600}")]
        face: (),
        #[serde(rename = "\u{fb33}")]
        letter: [i64; 2],
        #[serde(rename = "a\"b")]
        quoted: bool,
    }

    #[derive(Serialize)]
    struct Marker;

    #[derive(Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
    enum Word {
        Plain,
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Some { value: f64, after: u32 },
    }

    #[derive(Serialize)]
    enum Every {
        Unit,
        Newtype(Box<Every>),
        Tuple(i8, f32),
        Struct { b: u64, a: Option<()> },
    }

    #[derive(Serialize)]
    struct Flat {
        z: u8,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        tagged: Tagged,
        #[serde(flatten)]
        more: BTreeMap<String, u8>,
    }

    fn inner() -> Inner {
        Inner {
            z: None,
            a: (7, '\u{e9}'),
            face: (),
            letter: [-(1 << 53) + 1, 0],
            quoted: true,
        }
    }

    fn same(value: &impl Serialize) {
        let oracle = serde_json::to_value(value).map_err(|_| NotCanonical);
        let oracle = oracle.and_then(|value| json_to_canonical(&value));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(to_canonical(value).map(text), oracle.map(text));
    }

    #[test]
    fn every_type_is_written_like_its_json_value() {
        same(&inner());
        same(&(Marker, Some(1.0), None::<u8>, "a\n\u{7f}\u{2028}", 'x'));
        let tuple = Every::Tuple(-1, 0.5);
        same(&[Every::Unit, Every::Newtype(Box::new(tuple))]);
        same(&Every::Struct { b: 3, a: None });
        same(&[f64::NAN, f64::INFINITY, -0.0, 1e21, 1e-7, 0.1, 1e300]);
        same(&[0.1_f32, f32::MAX]);
        same(&[1_u128, u128::MAX]);
        same(&[-1_i128]);
        same(&u64::MAX);
        same(&i64::MIN);
        same(&json!({ "b": { "\u{10000}": 1, "\u{fffd}": [], "" : {} }, "a": [[], null] }));
        same(&serde_json::Map::new());
    }

    #[test]
    fn fields_of_one_name_and_keys_that_are_no_text() {
        // In JSON the last field of a name counts.
        let more = [("a", 1), ("b", 2), ("kind", 3), ("z", 4)];
        same(&Flat {
            z: 1,
            inner: inner(),
            tagged: Tagged::Some {
                value: 2.5,
                after: 1,
            },
            more: more.map(|(name, value)| (name.to_owned(), value)).into(),
        });
        same(&BTreeMap::from([(10_u64, 1), (9, 2), (u64::MAX, 3)]));
        same(&BTreeMap::from([(-1_i8, "x"), (1, "y")]));
        same(&BTreeMap::from([(true, 1), (false, 2)]));
        same(&BTreeMap::from([('b', 1), ('a', 2)]));
        same(&HashMap::from([(Word::Plain, 1)]));
        same(&BTreeMap::from([((1, 2), 3)]));
        same(&BTreeMap::from([((), 3)]));
    }

    #[test]
    fn what_is_no_plain_value_is_refused() {
        let raw = RawValue::from_string("{\"b\":1,\"a\":2}".into()).unwrap();
        assert_eq!(to_canonical(&[raw]), Err(NotCanonical));
    }
}
