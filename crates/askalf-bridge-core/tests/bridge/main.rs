//! The bridge on real sockets and the real store, spoken to by small clients that know nothing of its insides.

#[cfg(test)]
mod api;
#[cfg(test)]
mod attempts;
#[cfg(test)]
mod audit_heads;
#[cfg(test)]
mod authentication;
#[cfg(test)]
mod draining;
#[cfg(test)]
mod executions;
#[cfg(test)]
mod faulty_store;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod load;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod pairing;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod recheck;
#[cfg(test)]
mod redelivery;
#[cfg(test)]
mod returning;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod server;
#[cfg(test)]
mod status;
#[cfg(test)]
mod tls;
