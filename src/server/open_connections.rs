//! The connections of a port where new ones take the place of the oldest, so that idle ones cannot lock others out.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

/// The open connections of a port whose oldest ones give way to new ones.
#[derive(Debug, Default)]
pub(super) struct OpenConnections(VecDeque<CancellationToken>);

impl OpenConnections {
    /// Adds a connection, and ends the oldest one if there are more than `most`. The connection ends with its token, and
    /// cancels it when it ends by itself.
    pub(super) fn add(&mut self, most: usize) -> CancellationToken {
        self.0.retain(|open| !open.is_cancelled());
        if self.0.len() >= most {
            self.end_oldest();
        }
        let token = CancellationToken::new();
        self.0.push_back(token.clone());
        token
    }

    /// Ends the oldest connection, if one is open.
    pub(super) fn end_oldest(&mut self) {
        self.0.retain(|open| !open.is_cancelled());
        if let Some(oldest) = self.0.pop_front() {
            oldest.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_takes_the_place_of_the_oldest() {
        let mut open = OpenConnections::default();
        let tokens: Vec<CancellationToken> = (0..3).map(|_| open.add(2)).collect();
        let ended: Vec<bool> = tokens.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(ended, [true, false, false]);
        tokens[2].cancel();
        assert!(!open.add(2).is_cancelled() && !tokens[1].is_cancelled());
    }
    #[test]
    fn the_oldest_open_connection_ends_first() {
        let mut open = OpenConnections::default();
        let tokens: Vec<CancellationToken> = (0..3).map(|_| open.add(3)).collect();
        tokens[0].cancel();
        open.end_oldest();
        let ended: Vec<bool> = tokens.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(ended, [true, true, false]);
        open.end_oldest();
        open.end_oldest();
        assert!(tokens[2].is_cancelled());
    }
}
