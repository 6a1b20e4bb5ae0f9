//! What the radio's log says of now: does exactly one agent listen to every channel?

use std::collections::BTreeMap;

use super::audience::Audience;
use super::score::listening;

/// Connection per channel: the same ones mean that nobody left and nobody came.
pub(super) type Connections = BTreeMap<u16, u64>;

/// The connections, if every channel has exactly one listener; else which have not.
pub(super) fn one_each(audience: &Audience) -> Result<Connections, String> {
    let visits = audience.visits();
    let now = listening(&visits);
    let mut connections = Connections::new();
    let mut wrong = Vec::new();
    for channel in 1..=audience.channels() {
        match now.get(&channel).map(Vec::as_slice) {
            Some([one]) => {
                connections.insert(channel, one.connection);
            }
            Some(several) => wrong.push(format!("channel {channel} has {} listeners", several.len())),
            None => wrong.push(format!("channel {channel} has no listener")),
        }
    }
    if wrong.is_empty() {
        Ok(connections)
    } else {
        Err(wrong.join(", "))
    }
}

/// Which channels each agent listens to now.
pub(super) fn shares(audience: &Audience) -> BTreeMap<String, Vec<u16>> {
    let mut shares: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (channel, open) in listening(&audience.visits()) {
        for visit in open {
            shares.entry(visit.listener.clone()).or_default().push(channel);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exactly_one_will_do() {
        let audience = Audience::new(3);
        let _first = audience.join(2, "a").unwrap();
        let (second, _third) = (audience.join(1, "a").unwrap(), audience.join(1, "b").unwrap());
        assert_eq!(
            one_each(&audience).unwrap_err(),
            "channel 1 has 2 listeners, channel 3 has no listener"
        );
        drop(second);
        let _fourth = audience.join(3, "b").unwrap();
        let right = one_each(&audience).unwrap();
        assert_eq!(right, Connections::from([(1, 3), (2, 1), (3, 4)]));
        let expected = [("a".to_owned(), vec![2]), ("b".to_owned(), vec![1, 3])];
        assert_eq!(shares(&audience), BTreeMap::from(expected));
    }
}
