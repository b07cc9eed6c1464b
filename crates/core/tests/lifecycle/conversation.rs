//! Comments, questions, answers and amendments.

use countersign_core::{
    id::{MessageId, RequestId},
    lifecycle::Event,
    request::{
        Closure, MAX_MESSAGES, MAX_SIDE_MESSAGES, MAX_TEXT_BYTES, Message, MessageKind, Phase,
    },
    subject::SubjectId,
};

use crate::scene::{Scene, bot, person, someone};

const ONE: &[&str] = &["r: 1 group:dba"];

fn answer(to: u128) -> MessageKind {
    let to = MessageId::from_bits(to);
    MessageKind::Answer { to }
}

#[test]
fn who_may_say_what() {
    let amendment = MessageKind::Amendment {
        request: RequestId::from_bits(2),
    };
    let other = || SubjectId::Agent("other".parse().unwrap());
    for (by, kind, expected) in [
        (bot(), MessageKind::Comment, "held"),
        (someone("olga"), MessageKind::Comment, "held"),
        (someone("ann"), MessageKind::Comment, "held"),
        (someone("cat"), MessageKind::Comment, "not_participant"),
        (other(), MessageKind::Comment, "not_participant"),
        (someone("ann"), MessageKind::Question, "held"),
        (someone("olga"), MessageKind::Question, "not_participant"),
        (bot(), MessageKind::Question, "not_participant"),
        (bot(), answer(0), "held"),
        (someone("olga"), answer(0), "held"),
        (someone("ann"), answer(0), "not_participant"),
        (bot(), answer(9), "no_such_question"),
        (bot(), amendment.clone(), "not_participant"),
        (someone("ann"), amendment, "not_participant"),
    ] {
        let mut scene = Scene::new(ONE);
        assert_eq!(
            scene.say(someone("dan"), MessageKind::Question, "why?"),
            "held"
        );
        assert_eq!(
            scene.say(by.clone(), kind.clone(), "text"),
            expected,
            "{by} {kind:?}"
        );
    }
}

#[test]
fn a_comment_is_no_question_to_answer() {
    let mut scene = Scene::new(ONE);
    scene.say(someone("ann"), MessageKind::Comment, "hm");
    assert_eq!(scene.say(bot(), answer(0), "so"), "no_such_question");
}

#[test]
fn limits() {
    let mut scene = Scene::new(ONE);
    let (fits, too_long) = ("x".repeat(MAX_TEXT_BYTES), "x".repeat(MAX_TEXT_BYTES + 1));
    assert_eq!(
        scene.say(bot(), MessageKind::Comment, &too_long),
        "text_too_long"
    );
    for by in [bot(), someone("olga")]
        .iter()
        .cycle()
        .take(MAX_SIDE_MESSAGES)
    {
        assert_eq!(scene.say(by.clone(), MessageKind::Comment, &fits), "held");
    }
    for by in [bot(), someone("olga")] {
        assert_eq!(scene.say(by, MessageKind::Comment, ""), "side_said_enough");
    }
    for _ in MAX_SIDE_MESSAGES..MAX_MESSAGES {
        let reviewer = someone("ann");
        assert_eq!(scene.say(reviewer, MessageKind::Comment, &fits), "held");
    }
    assert_eq!(
        scene.say(bot(), MessageKind::Comment, ""),
        "conversation_full"
    );
    assert_eq!(
        scene.say(someone("ann"), MessageKind::Question, ""),
        "conversation_full"
    );
    assert_eq!(amend(&mut scene, "ann", |_| ()), "amended");
}

#[test]
fn after_the_end_only_comments() {
    let mut scene = Scene::new(ONE);
    scene.say(someone("ann"), MessageKind::Question, "why?");
    scene.play("ann-");
    for (by, kind, expected) in [
        (someone("ann"), MessageKind::Comment, "denied"),
        (bot(), MessageKind::Comment, "denied"),
        (someone("ann"), MessageKind::Question, "not_open"),
        (bot(), answer(0), "not_open"),
    ] {
        assert_eq!(scene.say(by, kind, ""), expected);
    }
    assert_eq!(amend(&mut scene, "ann", |_| ()), "not_open");
}

#[test]
fn asking_does_not_stop_the_clock() {
    let mut scene = Scene::new(ONE);
    scene.play("+29m");
    assert_eq!(
        scene.say(someone("ann"), MessageKind::Question, "why?"),
        "held"
    );
    assert_eq!(scene.play("+1m"), "expired");
}

fn amend(scene: &mut Scene, editor: &str, change: impl FnOnce(&mut Message)) -> String {
    let into = RequestId::from_bits(2);
    let kind = MessageKind::Amendment {
        request: into.clone(),
    };
    let mut message = scene.message(someone(editor), kind, "better so");
    change(&mut message);
    let editor = person(editor);
    scene.tell(Event::Amend {
        editor,
        into,
        message,
    })
}

#[test]
fn amending_ends_the_request() {
    for (script, editor, expected) in [
        ("", "ann", "amended"),
        ("dan+", "ann", "amended"),
        ("dan+", "dan", "amended"),
        ("", "cat", "not_participant"),
        ("", "olga", "not_participant"),
        ("ann^", "ann", "not_participant"),
        ("dan+ claim", "ann", "not_open"),
    ] {
        let mut scene = Scene::new(ONE);
        scene.play(script);
        assert_eq!(
            amend(&mut scene, editor, |_| ()),
            expected,
            "{script} {editor}"
        );
    }
    let mut scene = Scene::new(ONE);
    amend(&mut scene, "ann", |_| ());
    let (by, into) = (person("ann"), RequestId::from_bits(2));
    let Phase::Closed { closure, .. } = &scene.case.phase else {
        panic!("amending closes")
    };
    assert_eq!(*closure, Closure::Amended { by, into });
    assert_eq!(scene.play("dan+ claim"), "not_open not_open");
}

#[test]
fn an_editor_speaks_only_for_themselves() {
    type Change = fn(&mut Message);
    let changes: [Change; 4] = [
        |message| message.by = someone("dan"),
        |message| message.by = bot(),
        |message| message.kind = MessageKind::Comment,
        |message| {
            message.kind = MessageKind::Amendment {
                request: RequestId::from_bits(3),
            }
        },
    ];
    for change in changes {
        assert_eq!(
            amend(&mut Scene::new(ONE), "ann", change),
            "not_participant"
        );
    }
    let long = |message: &mut Message| message.text = "x".repeat(MAX_TEXT_BYTES + 1);
    assert_eq!(amend(&mut Scene::new(ONE), "ann", long), "text_too_long");
}
