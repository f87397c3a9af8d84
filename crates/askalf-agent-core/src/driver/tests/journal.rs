//! The journal behind the loop: what waits for a commit, what follows from a failure, what a later process takes up.

use std::time::Duration;

use serde_json::json;

use super::rig::{Agent, within};
use crate::journal::{Accepted, EndedId, Held, HeldResult, JournalError, Record};
use crate::machine::{Command, State};

const ACK: &[&str] = &["execution-ack", "resume", "redelivery"];

fn full() -> JournalError {
    let path = "/state/executions.db".into();
    JournalError::Full { path }
}

#[tokio::test(start_paused = true)]
async fn what_the_bridge_is_told_is_on_record_before() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "wait").await;
    peer.expect("execution:accepted").await;
    assert_eq!(agent.journal.held().accepted[0].execution_id, "e1");
    peer.send("task:cancel", json!({"executionId": "e1"})).await;
    peer.expect("execution:failed").await;
    let held = agent.journal.held();
    assert_eq!((held.accepted.len(), held.results.len()), (0, 1));
    assert!(agent.status.borrow().unacknowledged_bytes > 0);
    peer.send("execution:ack", json!({"executionId": "e1"})).await;
    agent
        .status
        .wait_for(|status| status.unacknowledged_bytes == 0)
        .await
        .unwrap();
    let journal = agent.journal.clone();
    agent.stop().await;
    assert_eq!(journal.held().results, []);
    assert_eq!(journal.held().ended, [EndedId::of("e1")]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_without_a_bridge_leaves_its_results() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "wait").await;
    peer.expect("execution:accepted").await;
    drop(peer);
    agent.reach(State::Backoff).await;
    let journal = agent.journal.clone();
    agent.stop().await;
    let held = journal.held();
    assert_eq!(held.accepted, []);
    assert!(
        held.results[0].frame.contains("the agent was stopped"),
        "{held:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_later_process_sends_what_an_earlier_one_left() {
    let mut agent = Agent::start_after(Held {
        accepted: vec![Accepted {
            execution_id: "e2".to_owned(),
            executor: "shell".to_owned(),
        }],
        results: vec![HeldResult {
            execution_id: "e1".to_owned(),
            frame: r#"{"type":"execution:complete","payload":{"executionId":"e1","output":"kept"}}"#.into(),
        }],
        ended: vec![EndedId::of("e0"), EndedId::of("e1")],
        quarantined: 3,
        moved_aside: None,
    });
    let mut peer = agent.accept().await;
    let register = peer.expect("device:register").await;
    assert_eq!(
        register["executions"],
        json!([{"executionId": "e1", "state": "ended"}, {"executionId": "e2", "state": "ended"}])
    );
    peer.register(ACK).await;
    assert_eq!(peer.expect("execution:complete").await["output"], "kept");
    assert_eq!(peer.expect("execution:failed").await["cause"], "interrupted");
    assert_eq!(agent.status.borrow().quarantined, 3);
    peer.dispatch("e0", "say again").await;
    assert_eq!(peer.expect("execution:failed").await["executionId"], "e0");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_new_work_keeps_results_and_heals_by_itself() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "wait").await;
    peer.expect("execution:accepted").await;
    agent.journal.fail([full()]);
    peer.dispatch("e2", "say no").await;
    let refused = peer.expect("execution:failed").await;
    assert_eq!(
        (&refused["executionId"], &refused["cause"]),
        (&json!("e2"), &json!("refused"))
    );
    let status = agent.reach(State::LocalFault).await;
    assert_eq!(status.reason, "journal-full");
    peer.send("task:cancel", json!({"executionId": "e1"})).await;
    // Not while it is not on record; and the device does not go away for it.
    assert_eq!(within(Duration::from_secs(20), peer.next()).await, None);
    agent.journal.fail([]);
    assert_eq!(peer.expect("execution:failed").await["executionId"], "e1");
    agent.reach(State::Online).await;
    peer.dispatch("e3", "say yes").await;
    peer.expect("execution:accepted").await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_read_is_waited_for() {
    let agent = Agent::start();
    // Before its first look: the loop has not run yet.
    agent.journal.fail([full()]);
    let mut agent = agent;
    assert_eq!(agent.reach(State::LocalFault).await.reason, "journal-full");
    assert!(
        within(Duration::from_secs(100), agent.dials.recv())
            .await
            .is_none()
    );
    agent.journal.fail([]);
    agent.accept_and_register(ACK).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_lost_is_written_anew() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "wait").await;
    peer.expect("execution:accepted").await;
    peer.dispatch("e2", "say x").await;
    for kind in ["execution:accepted", "execution:progress", "execution:complete"] {
        peer.expect(kind).await;
    }
    let path = "/state/executions.db".into();
    agent.journal.fail([JournalError::Removed { path }]);
    peer.dispatch("e3", "wait").await;
    peer.expect("execution:accepted").await;
    let commits = agent.journal.commits();
    let last = commits.last().unwrap();
    assert!(
        last.iter()
            .any(|it| matches!(it, Record::Ended { execution_id, .. } if execution_id == "e2"))
    );
    let held = agent.journal.held();
    let ids: Vec<_> = held.accepted.iter().map(|it| &*it.execution_id).collect();
    assert_eq!(ids, ["e1", "e3"]);
    assert_eq!(held.results.len(), 1);

    // Somebody removes it to make room, and there is none yet: what runs is recorded once there is.
    let path = "/state/executions.db".into();
    agent.journal.fail([JournalError::Removed { path }, full()]);
    peer.dispatch("e4", "wait").await;
    assert_eq!(peer.expect("execution:failed").await["cause"], "refused");
    agent.reach(State::LocalFault).await;
    agent.journal.fail([]);
    agent.reach(State::Online).await;
    let held = agent.journal.held();
    let ids: Vec<_> = held.accepted.iter().map(|it| &*it.execution_id).collect();
    assert_eq!(ids, ["e1", "e3"]);
    assert_eq!(held.results.len(), 1);
    agent.commands.send(Command::Stop).await.unwrap();
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_no_bridge_takes_goes_into_quarantine_and_the_next_one_through() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(ACK).await;
    peer.dispatch("e1", "say poison").await;
    for kind in ["execution:accepted", "execution:progress"] {
        peer.expect(kind).await;
    }
    for code in [1009, 1007, 1002] {
        assert_eq!(peer.expect("execution:complete").await["output"], "poison");
        peer.close(code).await;
        peer = agent.accept_and_register(ACK).await;
    }
    let short = peer.expect("execution:failed").await;
    assert_eq!(
        (&short["executionId"], &short["cause"]),
        (&json!("e1"), &json!("interrupted"))
    );
    assert_eq!(agent.journal.held().quarantined, 1);
    agent
        .status
        .wait_for(|status| status.quarantined == 1)
        .await
        .unwrap();
    peer.send("execution:ack", json!({"executionId": "e1"})).await;
    peer.dispatch("e2", "say fine").await;
    for kind in ["execution:accepted", "execution:progress"] {
        peer.expect(kind).await;
    }
    assert_eq!(peer.expect("execution:complete").await["output"], "fine");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_forge_is_asked_by_a_ping_whether_it_has_read_a_result() {
    let mut agent = Agent::start();
    let mut peer = agent.accept_and_register(&[]).await;
    peer.dispatch("e1", "say hello").await;
    for kind in ["execution:accepted", "execution:progress", "execution:complete"] {
        peer.expect(kind).await;
    }
    // The library behind the peer answers the ping as it reads on.
    assert_eq!(within(Duration::from_secs(1), peer.next()).await, None);
    assert_eq!(agent.status.borrow().unacknowledged, 0);
    assert_eq!(agent.journal.held().results.len(), 1, "not for good yet");
    peer.close(1001).await;
    let mut peer = agent.accept_and_register(&[]).await;
    assert_eq!(peer.expect("execution:complete").await["output"], "hello");
    assert_eq!(within(Duration::from_secs(61), peer.next()).await, None);
    assert_eq!(agent.journal.held().results, []);
    agent.stop().await;
}
