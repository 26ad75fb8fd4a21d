//! Run records and the static leaderboard made from them.
