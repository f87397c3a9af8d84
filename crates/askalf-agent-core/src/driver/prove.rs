//! The proof of a staged key: a connection of its own, which registers nothing and takes nobody's place.

use askalf_proto::{AgentMessage, BridgeMessage, CredentialProve};
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::dial::{Dial, Socket, Target};
use super::verify::{LEAVE_LIMIT, answer, leave};
use crate::Timings;
use crate::machine::{Disposition, Fault, Proof, Wait};

/// Asks the bridge of `target`, whose key is the staged one, to make it the device's.
pub(super) async fn prove(dialer: &dyn Dial, target: &Target, rotation_id: &str, timings: &Timings) -> Proof {
    let mut socket = match target.open(dialer, timings).await {
        Ok(socket) => socket,
        Err(fault) => return proof_of(&fault),
    };
    let committed = timeout(timings.handshake, ask(&mut socket, target, rotation_id)).await;
    let _given_up = timeout(LEAVE_LIMIT, leave(&mut socket)).await;
    match committed {
        Ok(Ok(())) => Proof::Committed,
        Ok(Err(fault)) => proof_of(&fault),
        Err(_) => proof_of(&Fault::NoAnswer {
            waited_for: Wait::Upgrade,
            waited: timings.handshake,
        }),
    }
}

async fn ask(socket: &mut Socket, target: &Target, rotation_id: &str) -> Result<(), Fault> {
    let proof = AgentMessage::CredentialProve(CredentialProve {
        rotation_id: rotation_id.to_owned(),
    });
    let frame = proof.encode().map_err(|error| Fault::Lost {
        detail: error.to_string(),
    })?;
    // Should the peer be gone already, its last words tell more than the failed write.
    let _last_words_follow = socket.send(Message::text(frame)).await;
    answer(socket, target, |message| match message {
        BridgeMessage::CredentialCommitted(committed) if committed.rotation_id == rotation_id => Some(()),
        _ => None,
    })
    .await
}

/// Only a definite word about this key is a refusal; its user is the present key's too.
fn proof_of(fault: &Fault) -> Proof {
    let verdict = fault.verdict();
    let problem = verdict.reason.text;
    match verdict.disposition {
        Disposition::RepairRequired { .. } if verdict.reason.id != "user_inactive" => {
            Proof::Refused { problem }
        }
        _ => Proof::Undecided { problem },
    }
}
