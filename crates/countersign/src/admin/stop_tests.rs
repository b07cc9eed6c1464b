//! Stops that are in effect and not recorded yet.

use countersign_core::time::Timestamp;

use super::*;
use crate::{admin::apply::change_directory, console::tests::Site};

#[tokio::test]
async fn nobody_goes_on_before_their_stop_is_recorded() {
    let site = Site::open().await;
    let gateway = &site.gateway;
    let agent = "bot".parse().unwrap();
    let (stop, start) = (
        DirectoryChange::StopAgent {
            agent: Clone::clone(&agent),
        },
        DirectoryChange::StartAgent { agent },
    );
    let by = vec![SubjectId::Person("sam@example.com".parse().unwrap())];
    apply::stop_now(gateway, &stop, by.clone()).await.unwrap();
    let change =
        async |change| change_directory(gateway, change, Timestamp(0), true, by.clone()).await;
    let refused = change(&start).await.unwrap_err().to_string();
    assert!(refused.contains("not recorded yet"), "{refused}");
    let bot = apply::subject_of(&stop);
    assert!(gateway.active().directory.resolve(&bot).is_none());
    // Anybody reads the health; who is stopped is for people with a session.
    let notices = gateway.notices().await.join("\n");
    assert!(
        notices.contains("1 stop is in effect") && !notices.contains("bot"),
        "{notices}"
    );
    let session = site.sign_in("kim@example.com").await;
    site.get("/", &session)
        .await
        .says("agent:bot is stopped, which is not recorded yet.");
    // A stop of the same agent meanwhile is the same stop, and is recorded once.
    apply::stop_now(gateway, &stop, by.clone()).await.unwrap();
    for recorded in [true, false] {
        assert_eq!(change(&stop).await.unwrap(), recorded);
        assert_eq!(gateway.active().stops.unrecorded(), []);
        apply::stop_now(gateway, &stop, by.clone()).await.unwrap();
    }
    assert!(change(&start).await.unwrap());
    assert!(gateway.active().directory.resolve(&bot).is_some());
}
