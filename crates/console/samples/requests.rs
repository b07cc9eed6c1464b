//! One request, as different people see it in different states.

use countersign_console::{
    part::{Deadline, Moment, Party, Phase},
    request::{
        Actions, AmendForm, ApproveForm, ClaimForm, DenyForm, Effect, EmergencyForm, Event,
        EventKind, GrantForm, Lifted, OneClick, OpenPlace, Pair, Policy, RequestPage, ReviewForm,
        Rule, Signature, Slot, Stage, StageState, What, Who,
    },
    shell::{Flash, Link, Place},
};

use super::{ago, shell};

const ID: &str = "req_01k9f3v7q2";
const DIGEST: &str = "3f9a2c1e7b604d58a1c90e6f52d3b8874e1f0a9bc26d7e3558f4a0c1d9e2b7f6";
const FORBID: &str = "@id(\"prod-writes\") @approval(\"dba\")\n@reason(\"Production data changes need a DBA\")\nforbid (principal, action in Action::\"write\", resource in Environment::\"production\");";

fn event(kind: EventKind, by: Option<Party>, time: &str) -> Event {
    Event {
        kind,
        by,
        at: Moment::new(format!("2026-11-03T{time}Z")),
        ..Event::default()
    }
}

fn bot() -> Party {
    Party::agent("deploy-bot", "dana@example.com")
}

fn who() -> Who {
    Who {
        requester: bot(),
        on_behalf_of: vec![Party::person("dana@example.com")],
        stated: vec![
            Pair::new("Model", "claude-opus-4-7"),
            Pair::new("Session", "6f1d2a90-3c1e"),
            Pair::new("Task", "Free disk space on orders-db (INC-2291)"),
        ],
        myself: vec!["dana@example.com".into()],
    }
}

fn what() -> What {
    What {
        runs_as: "deploy".into(),
        unusual: Vec::new(),
        gate: "postgres".into(),
        target: "orders".into(),
        environment: "production".into(),
        operation: "query".into(),
        body: "DELETE FROM sessions\n WHERE expired_at < now() - interval '90 days'\n   AND region = $1;\n-- $1 = 'eu-west'".into(),
        complete: true,
        size: "102 bytes".into(),
        digest: DIGEST.into(),
        effects: vec![
            Effect { action: "delete".into(), resource: "orders.public.sessions".into(), unclassified: false },
            Effect { action: "read".into(), resource: "orders.public.sessions".into(), unclassified: false },
        ],
        details: vec![Pair::new("Session state", "role app_rw, search_path \"public\", isolation read committed")],
    }
}

fn dba(stage: Stage) -> Rule {
    Rule {
        name: "dba".into(),
        assurance: "session".into(),
        reason_required: true,
        expires: "30m".into(),
        valid_for: "10m".into(),
        stages: vec![
            stage,
            Stage {
                state: StageState::NotYet,
                slots: vec![Slot::Empty {
                    from: vec!["group:security".into(), "user:kim@example.com".into()],
                    people: vec!["kim@example.com".into(), "sam@example.com".into()],
                    more: 3,
                    mine: false,
                    in_place_of: String::new(),
                }],
            },
        ],
        ..Rule::default()
    }
}

fn open_stage(mine: bool) -> Stage {
    Stage {
        state: StageState::Open,
        slots: vec![Slot::Empty {
            from: vec!["group:dba".into()],
            people: vec!["ana@example.com".into(), "lee@example.com".into()],
            more: 0,
            mine,
            in_place_of: String::new(),
        }],
    }
}

fn signed(by: &str, mine: bool) -> Stage {
    Stage {
        state: StageState::Complete,
        slots: vec![Slot::Filled(Signature {
            by: by.into(),
            in_place_of: String::new(),
            at: ago(70),
            assurance: "passkey".into(),
            mine,
            passkey: "laptop".into(),
            void: false,
        })],
    }
}

fn history() -> Vec<Event> {
    vec![
        event(EventKind::Requested, Some(bot()), "14:02:11"),
        Event {
            detail: "hold until rule dba is satisfied (prod-writes)".into(),
            ..event(EventKind::Decided, None, "14:02:11")
        },
        Event {
            detail: "dana@example.com is on the requester's side (owner)".into(),
            ..event(
                EventKind::Refused,
                Some(Party::person("dana@example.com")),
                "14:02:40",
            )
        },
        Event {
            text: "Is the nightly backup of today finished?".into(),
            message: "msg_1".into(),
            unanswered: true,
            ..event(
                EventKind::Question,
                Some(Party::person("lee@example.com")),
                "14:03:05",
            )
        },
    ]
}

fn base(viewer: &str) -> RequestPage {
    RequestPage {
        shell: shell(viewer, Place::Inbox, "/requests/req_01k9f3v7q2"),
        id: ID.into(),
        title: "DELETE FROM sessions WHERE expired_at < now() - interval '90 days' AND region = $1".into(),
        phase: Phase::Held,
        asked: ago(185),
        left: Some(Deadline::new("2026-11-03T14:32:11Z", 1_615)),
        who: who(),
        what: what(),
        blast_radius: "About 1 204 000 of 1 310 000 rows of orders.public.sessions (estimate of the planner). Cascades to session_events.".into(),
        why: Some("Session table is at 91 % of its disk. Runbook db-017 says to remove sessions older than 90 days.\nThis is safe and was pre-approved by the DBA team.".into()),
        policies: vec![
            Policy {
                id: "prod-writes".into(),
                effect: "forbid".into(),
                approval: "dba".into(),
                place: "policies/production.cedar:14".into(),
                source: FORBID.into(),
                reason: "Production data changes need a DBA".into(),
            },
            Policy {
                id: "agents-may-write".into(),
                effect: "permit".into(),
                place: "policies/agents.cedar:3".into(),
                source: "permit (principal in Group::\"agents\", action in Action::\"write\", resource);".into(),
                ..Policy::default()
            },
        ],
        bundle: "b7c1f09e4d2a6538".repeat(4),
        rules: vec![dba(open_stage(false))],
        timeline: history(),
        ..RequestPage::default()
    }
}

/// Somebody who can approve, deny, ask and amend.
pub(crate) fn reviewer() -> RequestPage {
    RequestPage {
        rules: vec![dba(open_stage(true))],
        actions: Actions {
            approve: Some(ApproveForm {
                reason_required: true,
                needed_after: 1,
                valid_for: "10 min".into(),
                signs: "rule dba, stage 1".into(),
                grant: Some(GrantForm {
                    times: vec!["5m".into(), "15m".into()],
                    time: "15m".into(),
                    most: 20,
                    uses: 20,
                    places: vec![OpenPlace {
                        place: "/argv/2".into(),
                        name: "region".into(),
                        value: "eu-west-1".into(),
                        open: false,
                    }],
                    proposed: Vec::new(),
                }),
                ..ApproveForm::default()
            }),
            deny: Some(DenyForm {
                refuses_for: "30 min".into(),
                ..DenyForm::default()
            }),
            comment: true,
            ask: true,
            amend: Some(AmendForm {
                arguments: vec![
                    "DELETE FROM sessions".into(),
                    " WHERE expired_at < now() - interval '90 days'".into(),
                    "   AND region = $1;".into(),
                ],
                hint: String::new(),
            }),
            ..Actions::default()
        },
        ..base("ana@example.com")
    }
}

/// The owner of the agent, who can't decide but cancel and answer.
pub(crate) fn own() -> RequestPage {
    RequestPage {
        actions: Actions {
            cannot_vote: "You own agent deploy-bot, which asked. Somebody else must decide.".into(),
            comment: true,
            answer: true,
            cancel: true,
            ..Actions::default()
        },
        ..base("dana@example.com")
    }
}

/// The same, after a refused attempt to approve.
pub(crate) fn answerer() -> RequestPage {
    let mut page = own();
    page.shell.flash = Some(Flash::refused(
        "`dana@example.com` is on the requester's side (requester, owner, delegate or editor).",
        "Somebody else must decide.",
    ));
    page
}

/// An action too long for one click, with hours.
pub(crate) fn too_long() -> RequestPage {
    let mut page = reviewer();
    page.what.body = (1..=60)
        .map(|i| {
            format!(
                "INSERT INTO price_list (sku, cents) VALUES ('A-{i:04}', {});\n",
                i * 37
            )
        })
        .collect();
    page.what
        .body
        .push_str("\n\n\n\n\n\n                                            DROP TABLE audit_log;");
    page.title =
        "INSERT INTO price_list (sku, cents) VALUES ('A-0001', 37); … and 1 204 more statements"
            .into();
    page.what.complete = false;
    page.what.size = "It has 74 310 bytes; the first 8 192 are shown.".into();
    page.left = Some(Deadline::new("2026-11-03T14:06:11Z", 48));
    if let Some(form) = &mut page.actions.approve {
        form.needed_after = 0;
        form.one_click = OneClick::NotEnough(
            "The action has 74 310 bytes; this page shows the first 8 192.".into(),
        );
        form.passkey = "/v1/requests/req_01k9/passkey".into();
    }
    if let Some(rule) = page.rules.first_mut() {
        rule.hours = "Mon-Fri 08:00-18:00 Europe/Berlin".into();
        rule.stages.truncate(1);
    }
    page
}

/// Approved and waiting for its requester, seen by a person who asked for themselves.
pub(crate) fn approved() -> RequestPage {
    let mut page = base("dana@example.com");
    page.phase = Phase::Approved;
    page.who.requester = Party::person("dana@example.com");
    page.who.on_behalf_of.clear();
    page.left = Some(Deadline::new("2026-11-03T14:14:00Z", 412));
    page.rules = vec![Rule {
        stages: vec![signed("lee@example.com", false)],
        ..dba(Stage::default())
    }];
    page.timeline.push(Event {
        text: "Backup checked, go.".into(),
        ..event(
            EventKind::Approved,
            Some(Party::person("lee@example.com")),
            "14:04:00",
        )
    });
    page.timeline
        .push(event(EventKind::Satisfied, None, "14:04:00"));
    page.actions = Actions {
        claim: Some(ClaimForm {
            until: "14:14:00 UTC".into(),
        }),
        cancel: true,
        comment: true,
        cannot_vote: String::new(),
        ..Actions::default()
    };
    page
}

/// Over: it ran.
pub(crate) fn finished() -> RequestPage {
    let mut page = approved();
    page.phase = Phase::Succeeded;
    page.left = None;
    page.actions = Actions::default();
    for (kind, detail) in [
        (EventKind::Redecided, "permit"),
        (EventKind::Permit, "prm_01k9f4 for 10 s"),
        (EventKind::Succeeded, "DELETE 1203871"),
    ] {
        page.timeline.push(Event {
            detail: detail.into(),
            link: (kind == EventKind::Succeeded).then(|| Link {
                href: "/v1/receipts/req_01k9f3v7q2".into(),
                text: "Receipt".into(),
            }),
            ..event(kind, None, "14:05:12")
        });
    }
    page
}

/// An advisory gate.
pub(crate) fn advisory() -> RequestPage {
    let mut page = reviewer();
    page.advisory = true;
    page.what.gate = "authzen".into();
    page.shell.flash = Some(Flash::refused(
        "This rule needs a reason.",
        "Say why you approve.",
    ));
    page
}

/// Somebody who asks for themselves and could lift the rule.
pub(crate) fn in_an_emergency() -> RequestPage {
    let mut page = own();
    page.shell.place = Place::Inbox;
    page.who.requester = Party::person("dana@example.com");
    page.who.on_behalf_of.clear();
    page.actions.emergency = vec![EmergencyForm {
        rule: "dba".into(),
        review_by: Moment::new("2026-11-04T14:05:00Z"),
        reviewers: vec!["lee@example.com".into(), "sam@example.com".into()],
        passkey: "/v1/requests/req_01k9f3v7q2/passkey".into(),
        origin: "https://gate.example.com".into(),
        ..EmergencyForm::default()
    }];
    page
}

/// Lifted, run, and overdue for somebody who may review it.
pub(crate) fn lifted() -> RequestPage {
    let mut page = finished();
    page.shell.emergencies = 1;
    page.shell.overdue = true;
    page.rules = vec![Rule {
        stages: Vec::new(),
        lifted: true,
        ..dba(Stage::default())
    }];
    let reason = "Checkout is down and nobody of the DBA team answers.".to_owned();
    page.lifted = vec![Lifted {
        rule: "dba".into(),
        by: "dana@example.com".into(),
        reason: reason.clone(),
        at: ago(90_000),
        review_by: Moment::new("2026-11-03T14:05:00Z"),
        overdue: true,
        reviewed: None,
    }];
    page.actions.review = vec![ReviewForm {
        rule: "dba".into(),
        by: "dana@example.com".into(),
        reason,
        review_by: Moment::new("2026-11-03T14:05:00Z"),
        overdue: true,
        note: String::new(),
    }];
    page
}

/// A confirmation in a single-person installation.
pub(crate) fn confirmation() -> RequestPage {
    let mut page = base("dana@example.com");
    page.shell.banners = vec![countersign_console::shell::Banner::single_person()];
    page.rules = vec![Rule {
        name: "confirm".into(),
        confirmation: true,
        assurance: "session".into(),
        expires: "30m".into(),
        valid_for: "10m".into(),
        stages: vec![Stage {
            state: StageState::Open,
            slots: vec![Slot::Empty {
                from: vec!["the person it acts for".into()],
                people: vec!["dana@example.com".into()],
                more: 0,
                mine: true,
                in_place_of: String::new(),
            }],
        }],
        ..Rule::default()
    }];
    page.actions = Actions {
        approve: Some(ApproveForm {
            valid_for: "10 min".into(),
            ..ApproveForm::default()
        }),
        deny: Some(DenyForm::default()),
        cancel: true,
        comment: true,
        ..Actions::default()
    };
    page
}
