//! What the radio says from outside: who listens to which channel.

use std::collections::BTreeMap;

use super::radio::{Channel, RadioStatus};
use crate::failure::Failure;
use crate::http::Server;

/// Connections per channel: the same ones mean that nobody left and nobody came.
pub(super) type Connections = BTreeMap<u16, Vec<u64>>;

/// Asks the radio.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    radio: Server,
}

impl Judge {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let radio =
            Server::parse(url).map_err(|error| Failure::failed(format!("demo: the radio: {error}")))?;
        Ok(Self { radio })
    }

    pub(super) async fn channels(&self) -> Result<Vec<Channel>, String> {
        let answer = self
            .radio
            .exchange(reqwest::Method::GET, "/status", None)
            .await
            .map_err(|error| error.to_string())?;
        serde_json::from_slice::<RadioStatus>(&answer.body)
            .map(|status| status.channels)
            .map_err(|error| format!("the radio's status cannot be read: {error}"))
    }

    /// The connections, if every channel has exactly one listener; else which have not.
    pub(super) async fn one_each(&self) -> Result<Connections, String> {
        one_each(&self.channels().await?)
    }
}

fn one_each(channels: &[Channel]) -> Result<Connections, String> {
    let wrong: Vec<String> = channels
        .iter()
        .filter(|channel| channel.listeners != 1)
        .map(|channel| format!("channel {} has {} listeners", channel.channel, channel.listeners))
        .collect();
    if wrong.is_empty() {
        Ok(channels
            .iter()
            .map(|channel| (channel.channel, channel.connections.clone()))
            .collect())
    } else {
        Err(wrong.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exactly_one_will_do() {
        let channel = |channel, connections: &[u64]| Channel {
            channel,
            listeners: connections.len(),
            connections: connections.to_vec(),
            ..Channel::default()
        };
        let right = one_each(&[channel(1, &[7]), channel(2, &[5])]).unwrap();
        assert_eq!(right, Connections::from([(1, vec![7]), (2, vec![5])]));
        let wrong = one_each(&[channel(1, &[]), channel(2, &[5]), channel(3, &[1, 2])]).unwrap_err();
        assert_eq!(wrong, "channel 1 has 0 listeners, channel 3 has 2 listeners");
    }
}
