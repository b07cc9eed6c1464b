//! What is still asked for as it was.
//!
//! In scope: comparing a request with the settings of now.
//! Out of scope: asking.
//! Invariant: what would not be asked like this any more is not told either.

use countersign_policy::target::exec::CredentialSource;

use super::*;

fn github(people: &[(u64, &str)], workload: &str, target: &str) -> GitHub {
    let secret = || CredentialSource::Env("X".into());
    let people = people
        .iter()
        .map(|(id, person)| (*id, person.parse().unwrap()));
    GitHub {
        app: 7,
        private_key: secret(),
        webhook_secret: secret(),
        api: "https://api.github.com".into(),
        people: people.collect(),
        repositories: vec![Repository {
            name: "acme/shop".into(),
            id: Some(11),
            installation: None,
            workload: workload.parse().unwrap(),
            environments: BTreeMap::from([("production".into(), target.parse().unwrap())]),
        }],
    }
}

fn subject(id: SubjectId) -> Subject {
    Subject { id, owner: None }
}

#[test]
fn what_would_be_asked_otherwise_is_noticed() {
    let deploy = Deploy {
        deployments: "github".into(),
        repository: "acme/shop".into(),
        repository_id: 11,
        installation: 77,
        run: 42,
        attempt: 1,
        environment: "Production".into(),
        r#ref: "main".into(),
        sha: "a".repeat(40),
        event: "push".into(),
        pull_requests: Vec::new(),
        triggering_actor: 1,
        accounts: vec![1, 2, 3],
    };
    let person = |name: &str| subject(SubjectId::Person(name.parse().unwrap()));
    let chain = SubjectChain {
        requester: subject(SubjectId::Workload("shop".parse().unwrap())),
        on_behalf_of: vec![person("dana"), person("finn")],
        origin: Origin::default(),
    };
    let target = "shop-production".parse().unwrap();
    let unlike = |people: &[(u64, &str)], workload: &str, to: &str| {
        deploy.unlike(&github(people, workload, to), &target, &chain)
    };
    let people = [(1, "dana"), (2, "finn"), (3, "dana")];
    assert_eq!(unlike(&people, "shop", "shop-production"), None);
    let more = [(1, "dana"), (2, "finn"), (3, "dana"), (4, "mona")];
    assert_eq!(unlike(&more, "shop", "shop-production"), None);
    for (people, workload, to, expected) in [
        (
            &people[..2],
            "shop",
            "shop-production",
            "the number 3 stands for nobody",
        ),
        (&people, "other", "shop-production", "asks as `other` now"),
        (&people, "shop", "elsewhere", "is not configured as it was"),
        (
            &[(1, "finn"), (2, "dana"), (3, "dana")],
            "shop",
            "shop-production",
            "for others",
        ),
        (
            &[(1, "dana"), (2, "finn"), (3, "mona")],
            "shop",
            "shop-production",
            "for others",
        ),
        (
            &[(1, "dana"), (2, "dana"), (3, "dana")],
            "shop",
            "shop-production",
            "for others",
        ),
    ] {
        let why = unlike(people, workload, to).unwrap();
        assert!(why.contains(expected), "{why}");
    }
    let mut other = github(&people, "shop", "shop-production");
    other.repositories[0].installation = Some(78);
    assert!(deploy.unlike(&other, &target, &chain).is_some());
}
