//! Every page with the same text in every field. No literal uses `..`, so a new field does not
//! compile here until it is filled too.

use countersign_console::{
    access::{ErrorPage, GoingPage, SecretPage, SignInPage, SignInWay, SignedOutPage, WelcomePage},
    accounts::{AccountRow, AccountsPage, LinkIn, LinkWith},
    emergencies::{EmergenciesPage, EmergencyRow, Review},
    grants::{GrantRow, GrantsPage},
    inbox::{Counts, Filter, InboxPage, Row, Tab},
    part::{Deadline, Moment, Party, PartyKind, Phase},
    passkeys::{PasskeyRow, PasskeysPage, PendingPasskey},
    people::{
        Absence, MachineRow, Membership, Passkey, PendingChange, PeoplePage, PersonRow, TokenRow,
    },
    render,
    request::{
        Actions, AmendForm, ApproveForm, ClaimForm, DenyForm, Effect, EmergencyForm, Event,
        EventKind, GrantForm, GrantShown, Lifted, OneClick, OpenPlace, Pair, Policy, Related,
        RequestPage, ReviewForm, Rule, Signature, Slot, Stage, StageState, What, Who,
    },
    shell::{Banner, Flash, Gravity, Link, Live, Place, Shell, SignedIn},
};

/// Fills every field with one text.
pub(crate) struct Fill<'a>(pub(crate) &'a str);

impl Fill<'_> {
    pub(crate) fn pages(&self) -> Vec<(&'static str, String)> {
        vec![
            ("inbox", render(&self.inbox())),
            ("request", render(&self.request(false))),
            ("emergencies", render(&self.emergencies())),
            ("grants", render(&self.grants())),
            ("request, advisory", render(&self.request(true))),
            ("people", render(&self.people(true))),
            ("people, reader", render(&self.people(false))),
            ("sign-in", render(&self.sign_in())),
            (
                "signed-out",
                render(&SignedOutPage {
                    shell: self.shell(),
                    just_now: false,
                    why: self.s(),
                    origin: self.s(),
                    passkeys: true,
                    next: self.s(),
                    providers: vec![SignInWay {
                        id: self.s(),
                        title: self.s(),
                        linked: true,
                    }],
                    elsewhere: Some(self.link()),
                }),
            ),
            (
                "welcome",
                render(&WelcomePage {
                    shell: self.shell(),
                    person: self.s(),
                    link: self.link(),
                }),
            ),
            (
                "going",
                render(&GoingPage {
                    shell: self.shell(),
                    title: self.s(),
                    link: self.link(),
                }),
            ),
            ("accounts", render(&self.accounts())),
            ("passkeys", render(&self.passkeys())),
            ("error", render(&self.error())),
            ("secret", render(&self.secret())),
        ]
    }

    fn accounts(&self) -> AccountsPage {
        AccountsPage {
            shell: self.shell(),
            accounts: vec![AccountRow {
                id: self.s(),
                channel: self.s(),
                user: self.s(),
                called: self.s(),
                linked: self.moment(),
                only_reads: true,
                signs_in: true,
            }],
            channels: vec![LinkIn {
                channel: self.s(),
                command: self.s(),
            }],
            providers: vec![LinkWith {
                id: self.s(),
                title: self.s(),
            }],
            through: String::new(),
            code: self.s(),
            minutes: 10,
        }
    }

    fn passkeys(&self) -> PasskeysPage {
        PasskeysPage {
            shell: self.shell(),
            passkeys: vec![PasskeyRow {
                id: self.s(),
                label: self.s(),
                fingerprint: self.s(),
                enrolled: self.moment(),
                synced: true,
                only_signs_in: true,
                current: true,
            }],
            pending: vec![PendingPasskey {
                label: self.s(),
                fingerprint: self.s(),
                link: self.link(),
                approved: false,
            }],
            cannot_add: String::new(),
            origin: self.s(),
        }
    }

    fn s(&self) -> String {
        self.0.into()
    }

    fn list(&self) -> Vec<String> {
        vec![self.s(), self.s()]
    }

    fn link(&self) -> Link {
        Link {
            href: self.s(),
            text: self.s(),
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            iso: self.s(),
            seconds_ago: Some(70),
        }
    }

    fn deadline(&self) -> Deadline {
        Deadline {
            iso: self.s(),
            seconds_left: 70,
        }
    }

    fn party(&self) -> Party {
        Party {
            kind: PartyKind::Agent,
            name: self.s(),
            owner: Some(self.s()),
        }
    }

    fn pair(&self) -> Pair {
        Pair {
            name: self.s(),
            value: self.s(),
        }
    }

    fn shell(&self) -> Shell {
        let gravities = [Gravity::Note, Gravity::Warning, Gravity::Danger];
        let banner = |gravity| Banner {
            gravity,
            title: self.s(),
            text: self.s(),
            link: Some(self.link()),
        };
        Shell {
            installation: self.s(),
            person: Some(SignedIn {
                name: self.s(),
                roles: self.list(),
                until: Some(self.moment()),
            }),
            waiting: 3,
            emergencies: 2,
            overdue: true,
            csrf: self.s(),
            act: self.s(),
            place: Place::People,
            banners: gravities.map(banner).into(),
            flash: Some(Flash {
                done: false,
                text: self.s(),
                next: self.s(),
            }),
            live: Some(Live {
                events: self.s(),
                page: self.s(),
            }),
        }
    }

    fn inbox(&self) -> InboxPage {
        InboxPage {
            shell: self.shell(),
            tab: Tab::Decided,
            counts: Counts {
                waiting: 1,
                mine: 2,
                decided: Some(3),
            },
            filter: Filter {
                state: self.s(),
                agent: self.s(),
                target: self.s(),
                from: self.s(),
                to: self.s(),
                text: self.s(),
            },
            agents: self.list(),
            targets: self.list(),
            rows: vec![self.row(), self.row()],
            next: Some(self.s()),
            further: true,
        }
    }

    fn row(&self) -> Row {
        Row {
            asks_you: false,
            id: self.s(),
            title: self.s(),
            requester: self.party(),
            on_behalf_of: self.list(),
            target: self.s(),
            environment: self.s(),
            why: Some(self.s()),
            asked: self.moment(),
            phase: Phase::Held,
            left: Some(self.deadline()),
            ended: Some(self.moment()),
            note: self.s(),
            signed: 1,
            needed: 2,
            confirmation: false,
            lifted: true,
            advisory: true,
            question_open: true,
        }
    }

    fn request(&self, advisory: bool) -> RequestPage {
        RequestPage {
            grant: Some(GrantShown {
                words: self.s(),
                cedar: self.s(),
                until: self.moment(),
                used: self.s(),
                live: true,
                ended_by: self.s(),
                can_end: true,
            }),
            shell: self.shell(),
            id: self.s(),
            title: self.s(),
            phase: Phase::Held,
            phase_detail: self.s(),
            asked: self.moment(),
            left: Some(self.deadline()),
            advisory,
            administrative: true,
            who: Who {
                requester: self.party(),
                on_behalf_of: vec![self.party()],
                stated: vec![self.pair()],
                myself: self.list(),
            },
            what: self.what(),
            blast_radius: self.s(),
            why: Some(self.s()),
            policies: vec![Policy {
                id: self.s(),
                effect: self.s(),
                approval: self.s(),
                place: self.s(),
                source: self.s(),
                reason: self.s(),
            }],
            bundle: self.s(),
            rules: vec![self.rule()],
            hindered: self.list(),
            lifted: vec![Lifted {
                rule: self.s(),
                by: self.s(),
                reason: self.s(),
                at: self.moment(),
                review_by: self.moment(),
                overdue: true,
                reviewed: Some(self.review()),
            }],
            timeline: vec![self.event()],
            related: vec![Related {
                how: self.s(),
                link: self.link(),
            }],
            actions: self.actions(),
        }
    }

    fn what(&self) -> What {
        What {
            runs_as: self.s(),
            unusual: self.list(),
            gate: self.s(),
            target: self.s(),
            environment: self.s(),
            operation: self.s(),
            body: self.s(),
            complete: false,
            size: self.s(),
            digest: self.s(),
            effects: vec![Effect {
                action: self.s(),
                resource: self.s(),
                unclassified: true,
            }],
            details: vec![self.pair()],
        }
    }

    fn rule(&self) -> Rule {
        let signature = Signature {
            by: self.s(),
            in_place_of: self.s(),
            at: self.moment(),
            assurance: self.s(),
            mine: true,
            passkey: self.s(),
            void: true,
        };
        let empty = Slot::Empty {
            from: self.list(),
            people: self.list(),
            more: 2,
            mine: true,
            in_place_of: self.s(),
        };
        let stage = |slots| Stage {
            state: StageState::Open,
            slots,
        };
        Rule {
            name: self.s(),
            confirmation: false,
            assurance: self.s(),
            reason_required: true,
            hours: self.s(),
            outside_hours: true,
            expires: self.s(),
            valid_for: self.s(),
            unreachable: self.s(),
            stages: vec![stage(vec![Slot::Filled(signature)]), stage(vec![empty])],
            lifted: true,
            emergency: self.s(),
        }
    }

    fn event(&self) -> Event {
        Event {
            kind: EventKind::Question,
            by: Some(self.party()),
            at: self.moment(),
            detail: self.s(),
            text: self.s(),
            link: Some(self.link()),
            message: self.s(),
            unanswered: true,
        }
    }

    fn actions(&self) -> Actions {
        Actions {
            cannot_vote: self.s(),
            lacks_passkey: true,
            approve: Some(ApproveForm {
                reason_required: true,
                one_click: OneClick::NotEnough(self.s()),
                needed_after: 0,
                valid_for: self.s(),
                passkey: self.s(),
                origin: self.s(),
                signs: self.s(),
                reason: self.s(),
                grant: Some(GrantForm {
                    times: self.list(),
                    time: self.s(),
                    most: 20,
                    uses: 2,
                    places: vec![OpenPlace {
                        place: self.s(),
                        name: self.s(),
                        value: self.s(),
                        open: true,
                    }],
                    proposed: self.list(),
                }),
            }),
            deny: Some(DenyForm {
                refuses_for: self.s(),
                reason: self.s(),
            }),
            comment: true,
            ask: true,
            answer: true,
            amend: Some(AmendForm {
                arguments: self.list(),
                hint: self.s(),
            }),
            withdraw: true,
            cancel: true,
            claim: Some(ClaimForm { until: self.s() }),
            emergency: vec![EmergencyForm {
                rule: self.s(),
                review_by: self.moment(),
                reviewers: self.list(),
                more: 2,
                one_click: OneClick::NotEnough(self.s()),
                lacks_passkey: false,
                passkey: self.s(),
                origin: self.s(),
                reason: self.s(),
            }],
            review: vec![ReviewForm {
                rule: self.s(),
                by: self.s(),
                reason: self.s(),
                review_by: self.moment(),
                overdue: true,
                note: self.s(),
            }],
        }
    }

    fn review(&self) -> Review {
        Review {
            by: self.s(),
            at: self.moment(),
            note: self.s(),
        }
    }

    fn grants(&self) -> GrantsPage {
        GrantsPage {
            shell: self.shell(),
            rows: vec![GrantRow {
                id: self.s(),
                title: self.s(),
                words: self.s(),
                used: self.s(),
                until: Deadline::new(self.s(), 60),
                can_end: true,
            }],
        }
    }

    fn emergencies(&self) -> EmergenciesPage {
        let row = |reviewed| EmergencyRow {
            id: self.s(),
            title: self.s(),
            rule: self.s(),
            by: self.s(),
            reason: self.s(),
            at: self.moment(),
            review_by: self.moment(),
            mine: true,
            reviewed,
        };
        EmergenciesPage {
            shell: self.shell(),
            overdue: vec![row(None)],
            due: vec![row(None)],
            reviewed: vec![row(Some(self.review()))],
            next: Some(self.s()),
            further: true,
        }
    }

    fn people(&self, can_propose: bool) -> PeoplePage {
        PeoplePage {
            shell: self.shell(),
            provisioner: self.s(),
            people: vec![PersonRow {
                name: self.s(),
                me: true,
                roles: self.list(),
                groups: vec![Membership {
                    group: self.s(),
                    since: self.moment(),
                    countersigned: false,
                }],
                accounts: self.list(),
                inactive: false,
                provisioned: true,
                manager: self.s(),
                disabled: false,
                absence: Some(Absence {
                    from: self.s(),
                    end: self.s(),
                    stand_in: self.s(),
                    countersigned: false,
                }),
                last_seen: Some(self.moment()),
                passkeys: vec![Passkey {
                    id: self.s(),
                    label: self.s(),
                    only_signs_in: true,
                }],
            }],
            machines: vec![MachineRow {
                kind: PartyKind::Workload,
                name: self.s(),
                owner: Some(self.s()),
                groups: self.list(),
                stopped: false,
                long_lived: self.s(),
                tokens: vec![TokenRow {
                    id: self.s(),
                    issued: self.moment(),
                    issued_by: self.s(),
                    expires: Some(self.moment()),
                    acts: self.s(),
                    long_lived: true,
                    dead: false,
                }],
            }],
            groups: self.list(),
            pending: vec![PendingChange {
                link: self.link(),
                by: self.party(),
                at: self.moment(),
                mine: true,
            }],
            can_propose,
            cannot_propose: self.s(),
            pick: self.s(),
        }
    }

    fn sign_in(&self) -> SignInPage {
        SignInPage {
            shell: self.shell(),
            person: self.s(),
            action: self.s(),
            token: self.s(),
            issued_by: self.s(),
            left: Some(self.deadline()),
        }
    }

    fn error(&self) -> ErrorPage {
        ErrorPage {
            shell: self.shell(),
            status: 403,
            title: self.s(),
            detail: self.s(),
            next: self.s(),
            link: Some(self.link()),
            trace: self.s(),
        }
    }

    fn secret(&self) -> SecretPage {
        SecretPage {
            shell: self.shell(),
            title: self.s(),
            secret: self.s(),
            usage: self.s(),
            command: self.s(),
            left: Some(self.deadline()),
            single_use: true,
            link: self.link(),
        }
    }
}
