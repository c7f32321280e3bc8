//! Rules that a simulation breaks on purpose, one at a time, to show that it would notice: no service ever does.

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A pass that does not return a user whose event was applied shows no `unconfirmed_event`.
    Unconfirmed,
    /// Calls are sent whatever the ledger says.
    Ledger,
    /// The ledger has no minute of guard.
    Guard,
    /// Any row brings a deleted user back.
    RowsRevive,
    /// A claim stays whatever read covers it.
    ClaimsSurvive,
    /// Upstream's time is what our wall clock shows.
    WallClock,
}
