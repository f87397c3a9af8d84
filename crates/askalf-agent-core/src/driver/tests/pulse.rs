//! Signs of life for a watchdog.

use std::time::Duration;

use super::rig::{Agent, within};
use crate::Pulse;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn the_loop_gives_a_sign_whenever_it_is_asked_and_none_once_it_has_ended() {
    let pulse = Pulse::default();
    let mut agent = Agent::start_watched(pulse.clone());
    // Also before the bridge has said anything.
    assert!(within(MINUTE, pulse.felt()).await.is_some());
    let _peer = agent.accept_and_register(&[]).await;
    assert!(within(MINUTE, pulse.felt()).await.is_some());
    agent.stop().await;
    assert!(within(MINUTE, pulse.felt()).await.is_none());
}
