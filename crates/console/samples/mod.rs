//! Pages in several states, for the preview and the tests.

mod requests;

use countersign_console::{access, emergencies, grants, inbox, part, passkeys, people, shell};

pub(crate) use requests::{
    advisory, answerer, approved, confirmation, finished, in_an_emergency, lifted, own, reviewer,
    too_long,
};

use access::{ErrorPage, SecretPage, SignInPage, SignInWay, SignedOutPage, WelcomePage};
use emergencies::{EmergenciesPage, EmergencyRow, Review};
use grants::{GrantRow, GrantsPage};
use inbox::{Counts, Filter, InboxPage, Row, Tab};
use part::{Deadline, Moment, Party, PartyKind, Phase};
use passkeys::{PasskeyRow, PasskeysPage, PendingPasskey};
use people::{Absence, MachineRow, Membership, PendingChange, PeoplePage, PersonRow, TokenRow};
use shell::{Banner, Flash, Link, Live, Place, Shell, SignedIn};

/// The surroundings for a signed-in person.
pub(crate) fn shell(name: &str, place: Place, page: &str) -> Shell {
    Shell {
        installation: "countersign.example.com".into(),
        person: Some(SignedIn {
            name: name.into(),
            roles: Vec::new(),
            until: None,
        }),
        waiting: 2,
        csrf: "csrf-3d5b".into(),
        act: "act-91c2".into(),
        place,
        live: Some(Live {
            events: "/v1/events?inbox".into(),
            page: page.into(),
        }),
        ..Shell::default()
    }
}

/// A moment some seconds ago.
pub(crate) fn ago(seconds: i64) -> Moment {
    Moment::ago("2026-11-03T14:02:11.512Z", seconds)
}

/// The surroundings for nobody.
fn nobody() -> Shell {
    Shell {
        installation: "countersign.example.com".into(),
        csrf: "csrf-3d5b".into(),
        ..Shell::default()
    }
}

fn row(id: &str, title: &str, requester: Party, target: &str, why: &str) -> Row {
    Row {
        id: id.into(),
        title: title.into(),
        requester,
        on_behalf_of: vec!["dana@example.com".into()],
        target: target.into(),
        environment: "production".into(),
        why: (!why.is_empty()).then(|| why.into()),
        asked: ago(185),
        phase: Phase::Held,
        left: Some(Deadline::new("2026-11-03T14:32:11Z", 1_615)),
        ended: None,
        note: "Your signature: rule dba".into(),
        signed: 0,
        needed: 2,
        confirmation: false,
        lifted: false,
        advisory: false,
        asks_you: false,
        question_open: false,
    }
}

fn rows() -> Vec<Row> {
    let bot = || Party::agent("deploy-bot", "dana@example.com");
    vec![
        Row {
            signed: 1,
            left: Some(Deadline::new("2026-11-03T14:06:11Z", 48)),
            ..row(
                "req_01k9f3v7q2",
                "DELETE FROM sessions WHERE expired_at < now() - interval '90 days'",
                bot(),
                "orders",
                "Session table is at 91 % of its disk. Runbook db-017 says to remove sessions older than 90 days.",
            )
        },
        Row {
            question_open: true,
            left: Some(Deadline::new("2026-11-03T14:12:11Z", 242)),
            note: "Your signature: rules prod-change, security".into(),
            ..row(
                "req_01k9f3tt5e",
                "kubectl --context prod-eu rollout restart deployment/checkout",
                Party {
                    kind: PartyKind::Workload,
                    name: "release-pipeline".into(),
                    owner: Some("sam@example.com".into()),
                },
                "prod-eu",
                "",
            )
        },
        Row {
            advisory: true,
            environment: String::new(),
            note: "Your signature: rule payments".into(),
            ..row(
                "req_01k9f3r0aa",
                "refunds.create {\"charge\":\"ch_3Nx\",\"amount\":129900,\"currency\":\"eur\"}",
                Party::agent("support-agent", "lee@example.com"),
                "payments-api",
                "Customer was charged twice for order 88121. Refund requested in ticket SUP-4410 and agreed with the customer on the phone; the amount is the whole second charge.",
            )
        },
        Row {
            note: "Your signature: rule admin".into(),
            on_behalf_of: Vec::new(),
            environment: String::new(),
            needed: 1,
            ..row(
                "req_01k9f3p1zz",
                "Add sam@example.com to group dba",
                Party::person("dana@example.com"),
                "countersign",
                "Sam joins the database team on Monday.",
            )
        },
    ]
}

/// Requests that wait for the viewer.
pub(crate) fn inbox() -> InboxPage {
    InboxPage {
        shell: Shell {
            waiting: 4,
            ..shell("ana@example.com", Place::Inbox, "/inbox")
        },
        tab: Tab::Waiting,
        counts: Counts {
            waiting: 4,
            mine: 1,
            decided: None,
        },
        agents: vec!["deploy-bot".into(), "support-agent".into()],
        targets: vec!["orders".into(), "payments-api".into()],
        rows: rows(),
        next: Some("cursor+2".into()),
        ..InboxPage::default()
    }
}

/// Requests that are over, filtered.
pub(crate) fn inbox_decided() -> InboxPage {
    let mut page = inbox();
    let ends = [
        (
            Phase::Succeeded,
            "ana@example.com and lee@example.com signed",
        ),
        (Phase::Denied, "lee@example.com denied"),
        (Phase::Unknown, "Check the target"),
        (Phase::Expired, "Nobody decided"),
    ];
    for (row, (phase, note)) in page.rows.iter_mut().zip(ends) {
        row.phase = phase;
        row.note = note.into();
        row.left = None;
        row.ended = Some(ago(4_000));
        row.question_open = false;
    }
    page.tab = Tab::Decided;
    page.next = None;
    page.further = true;
    page.filter = Filter {
        target: "orders".into(),
        from: "2026-11-01".into(),
        ..Filter::default()
    };
    page
}

/// An empty tab.
pub(crate) fn inbox_empty(tab: Tab, filter: Filter) -> InboxPage {
    InboxPage {
        shell: Shell {
            waiting: 0,
            banners: vec![Banner::single_person()],
            ..shell("ana@example.com", Place::Inbox, "/inbox")
        },
        tab,
        filter,
        ..InboxPage::default()
    }
}

fn person(name: &str, groups: &[&str]) -> PersonRow {
    let member = |group: &&str| Membership {
        group: (*group).into(),
        since: ago(9_000_000),
        countersigned: *group != "oncall",
    };
    PersonRow {
        name: name.into(),
        me: name == "ana@example.com",
        roles: Vec::new(),
        groups: groups.iter().map(member).collect(),
        accounts: Vec::new(),
        manager: String::new(),
        disabled: false,
        inactive: false,
        provisioned: false,
        absence: (name == "ana@example.com").then(|| Absence {
            from: String::new(),
            end: "through 2026-11-13 (UTC)".into(),
            stand_in: "dana@example.com".into(),
            countersigned: true,
        }),
        last_seen: Some(ago(7_300)),
        passkeys: vec![],
    }
}

fn token(id: &str, long_lived: bool, dead: bool) -> TokenRow {
    TokenRow {
        id: id.into(),
        issued: ago(700_000),
        issued_by: "dana@example.com".into(),
        expires: (!long_lived).then(|| Moment::new("2026-11-10T09:00:00Z")),
        long_lived,
        acts: String::new(),
        dead,
    }
}

fn machines() -> Vec<MachineRow> {
    vec![
        MachineRow {
            kind: PartyKind::Agent,
            name: "deploy-bot".into(),
            owner: Some("dana@example.com".into()),
            groups: vec!["agents".into()],
            stopped: false,
            long_lived: "90d".into(),
            tokens: vec![
                token("tok_7f3a", false, false),
                token("tok_11c0", true, false),
                token("tok_09aa", false, true),
            ],
        },
        MachineRow {
            kind: PartyKind::Workload,
            name: "release-pipeline".into(),
            owner: None,
            groups: vec!["pipelines".into()],
            stopped: false,
            long_lived: String::new(),
            tokens: Vec::new(),
        },
        MachineRow {
            kind: PartyKind::Agent,
            name: "scraper".into(),
            owner: Some("lee@example.com".into()),
            groups: Vec::new(),
            stopped: true,
            long_lived: String::new(),
            tokens: Vec::new(),
        },
    ]
}

/// People and agents, seen by an administrator.
pub(crate) fn people() -> PeoplePage {
    PeoplePage {
        shell: Shell {
            person: Some(SignedIn {
                name: "ana@example.com".into(),
                roles: vec!["administrator".into()],
                until: None,
            }),
            flash: Some(Flash {
                done: true,
                text: "Your proposal is request req_01k9f3p1zz.".into(),
                next: "It takes effect when a second administrator has countersigned it.".into(),
            }),
            ..shell("ana@example.com", Place::People, "/people")
        },
        people: vec![
            PersonRow {
                roles: vec!["administrator".into()],
                ..person("ana@example.com", &["dba", "security"])
            },
            PersonRow {
                manager: "ana@example.com".into(),
                accounts: vec!["corp".into()],
                provisioned: true,
                ..person("dana@example.com", &["engineering"])
            },
            PersonRow {
                manager: "ana@example.com".into(),
                ..person("lee@example.com", &["dba", "oncall"])
            },
            PersonRow {
                disabled: true,
                last_seen: None,
                passkeys: vec![],
                ..person("pat@example.com", &[])
            },
        ],
        provisioner: "Example Corp".into(),
        machines: machines(),
        groups: ["agents", "dba", "engineering", "security"]
            .map(String::from)
            .into(),
        pending: vec![PendingChange {
            link: Link {
                href: "/requests/req_01k9f3p1zz".into(),
                text: "Add sam@example.com to group dba".into(),
            },
            by: Party::person("dana@example.com"),
            at: ago(640),
            mine: true,
        }],
        can_propose: true,
        cannot_propose: String::new(),
        pick: String::new(),
    }
}

/// People and agents, seen by somebody who proposes nothing.
pub(crate) fn people_reader() -> PeoplePage {
    PeoplePage {
        can_propose: false,
        cannot_propose:
            "Administrators propose changes. Your session is ana@example.com, who is not one."
                .into(),
        ..people()
    }
}

/// Somebody's own passkeys.
pub(crate) fn passkeys() -> PasskeysPage {
    PasskeysPage {
        shell: Shell {
            live: None,
            ..shell("dana@example.com", Place::Elsewhere, "")
        },
        passkeys: vec![PasskeyRow {
            id: "crd_01k9".into(),
            label: "laptop".into(),
            fingerprint: "3f1c 09ab 77d2 e410".into(),
            enrolled: ago(86_400),
            synced: true,
            only_signs_in: false,
            current: true,
        }],
        pending: vec![PendingPasskey {
            label: "phone".into(),
            fingerprint: "90aa 41c2 0d1f 77be".into(),
            link: Link {
                href: "/requests/req_01k9f3p1zz".into(),
                text: "Add a passkey for dana@example.com".into(),
            },
            approved: false,
        }],
        cannot_add: String::new(),
        origin: "https://gate.example.com".into(),
    }
}

/// A sign-in link, opened.
pub(crate) fn sign_in() -> SignInPage {
    SignInPage {
        shell: nobody(),
        person: "dana@example.com".into(),
        action: "/sign-in".into(),
        token: "lnk-5a5a".into(),
        issued_by: "ana@example.com".into(),
        left: Some(Deadline::new("2026-11-03T14:32:11Z", 590)),
    }
}

/// After signing out.
pub(crate) fn signed_out() -> SignedOutPage {
    SignedOutPage {
        shell: nobody(),
        just_now: true,
        why: "You removed the passkey that this session was begun with.".into(),
        origin: "https://gate.example.com".into(),
        passkeys: true,
        next: "/requests/req_01k9".into(),
        providers: vec![SignInWay {
            id: "corp".into(),
            title: "Example Corp".into(),
            linked: false,
        }],
        elsewhere: Some(Link {
            href: "https://login.example.com/session/end?client_id=countersign".into(),
            text: "sign out of Example Corp".into(),
        }),
    }
}

/// Signed in with a provider.
pub(crate) fn welcome() -> WelcomePage {
    WelcomePage {
        shell: nobody(),
        person: "dana@example.com".into(),
        link: Link {
            href: "/inbox".into(),
            text: "Go on".into(),
        },
    }
}

/// Something went wrong.
pub(crate) fn error() -> ErrorPage {
    ErrorPage {
        shell: Shell {
            banners: vec![
                Banner::clock_fault("It is 42 s behind the last record."),
                Banner::recovery_used("root", "2026-11-03 13:50 UTC"),
            ],
            live: None,
            ..shell("ana@example.com", Place::Elsewhere, "/")
        },
        status: 404,
        title: "There is no request `req_01k9`".into(),
        detail: "Either it does not exist, or you are neither on its requester's side, nor among those who may countersign it, nor an auditor.".into(),
        next: "Check the address, or find the request in your inbox.".into(),
        link: Some(Link {
            href: "/inbox".into(),
            text: "Go to the inbox".into(),
        }),
        trace: "e-7c21".into(),
    }
}

/// A token that was just made.
pub(crate) fn secret() -> SecretPage {
    SecretPage {
        shell: Shell {
            live: None,
            ..shell("dana@example.com", Place::People, "/people")
        },
        title: "Token for agent deploy-bot".into(),
        secret: "cst_9Jx2vQm7TzY4kB8nR1wL5pH3sD6fG0aC".into(),
        usage: "Give it to the agent as COUNTERSIGN_TOKEN.".into(),
        command: "export COUNTERSIGN_URL=https://countersign.example.com COUNTERSIGN_TOKEN=…"
            .into(),
        left: Some(Deadline::new("2026-11-10T14:02:11Z", 604_800)),
        single_use: false,
        link: Link {
            href: "/people".into(),
            text: "I have copied it".into(),
        },
    }
}

/// Two grants that can be used.
pub(crate) fn grants() -> GrantsPage {
    let row = |title: &str, words: &str, can_end| GrantRow {
        id: "req_01k9f3v7q2".into(),
        title: title.into(),
        words: words.into(),
        used: "3 of 20 uses".into(),
        until: Deadline::new("2026-11-03T14:17:11Z", 540),
        can_end,
    };
    GrantsPage {
        shell: shell("dana@example.com", Place::Grants, "/grants"),
        rows: vec![
            row(
                "kubectl rollout restart deployment/checkout",
                "agent:deploy-bot: this action with any deployment, 20 times in all within 15m",
                true,
            ),
            row(
                "psql -c 'vacuum analyze'",
                "agent:night-bot for person:sam@example.com: exactly this action, 20 times in all within 1h",
                false,
            ),
        ],
    }
}

/// One emergency of each standing.
pub(crate) fn emergencies() -> EmergenciesPage {
    let mut shell = shell("dana@example.com", Place::Emergencies, "/emergencies");
    (shell.emergencies, shell.overdue) = (2, true);
    let row = |title: &str, by: &str, mine, reviewed| EmergencyRow {
        id: "req_01k9f3v7q2".into(),
        title: title.into(),
        rule: "dba".into(),
        by: by.into(),
        reason: "Checkout is down and nobody of the DBA team answers.".into(),
        at: Moment::ago("2026-11-03T14:02:11Z", 90_000),
        review_by: Moment::new("2026-11-04T14:02:11Z"),
        mine,
        reviewed,
    };
    let review = Review {
        by: "lee@example.com".into(),
        at: Moment::ago("2026-11-03T15:02:11Z", 3_600),
        note: "Went through the log with Sam: only the failover was done.".into(),
    };
    EmergenciesPage {
        shell,
        overdue: vec![row(
            "psql -c 'select pg_promote()'",
            "sam@example.com",
            true,
            None,
        )],
        due: vec![row(
            "systemctl restart checkout",
            "dana@example.com",
            false,
            None,
        )],
        reviewed: vec![row(
            "terraform apply",
            "kim@example.com",
            false,
            Some(review),
        )],
        next: None,
        further: false,
    }
}
