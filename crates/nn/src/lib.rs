//! Attention, blocks, towers and weight loading shared by every model family.
