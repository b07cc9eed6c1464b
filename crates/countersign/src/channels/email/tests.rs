//! Names, places and pace of mails.
//!
//! In scope: what is the same whenever it is looked at.
//! Out of scope: sending; `integration/email` has real servers.
//! Invariant: a name says what it is of, and of nothing else.

use super::news::{News, Recipient, place, read};

#[test]
fn places_say_what_is_told_to_whom() {
    let message = || "msg_1".parse().unwrap();
    let recipients = [
        Recipient::Person("dana@example.com".parse().unwrap()),
        Recipient::Person("to:ops#1".parse().unwrap()),
        Recipient::Place("ops@example.com".into()),
    ];
    let news = [
        News::Waits,
        News::Asked(message()),
        News::Answered(message()),
        News::Approved,
        News::Over,
        News::Ended,
        News::Lifted(0),
        News::Overdue(12),
    ];
    for recipient in &recipients {
        for one in &news {
            let place = place(recipient, one);
            assert_eq!(
                read(&place),
                Some((recipient.clone(), one.clone())),
                "{place}"
            );
        }
    }
    for nothing in [
        "",
        "C0123",
        "person:dana",
        "person:dana waits more",
        "cred_1 waits",
        "person:dana lifted:x",
        "person:dana overdue",
    ] {
        assert_eq!(read(nothing), None, "{nothing}");
    }
}

#[test]
fn what_is_of_somebody_begins_like_it() {
    let dana = "dana@example.com".parse().unwrap();
    let [person, address] = <[String; 2]>::try_from(super::places_of(&dana)).unwrap();
    let waits = |recipient| place(&recipient, &News::Waits);
    assert!(waits(Recipient::Person(dana)).starts_with(&person));
    assert!(waits(Recipient::Place("dana@example.com".into())).starts_with(&address));
    let other = "dana@example.com2".parse().unwrap();
    assert!(!waits(Recipient::Person(other)).starts_with(&person));
}
