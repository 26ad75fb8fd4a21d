//! Where a horizontal pass loads its pixels: groups of neighbours, as many for every target pixel.

use crate::resize::weights::Axis;

/// Groups of source pixels that are loaded at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// First source pixel of each target pixel's groups.
    pub(super) firsts: Vec<usize>,
    /// Groups of a target pixel.
    pub(super) count: usize,
}

impl Groups {
    /// Lays out the spans of `axis`, which reads rows of `source` pixels, in groups of `pixels`. `take` gets each group
    /// as a function from a pixel's place in it to the weight. False, and nothing taken, if the source is narrower
    /// than the groups of a target pixel.
    pub(super) fn arrange(
        &mut self,
        axis: &Axis<i32>,
        source: usize,
        pixels: usize,
        mut take: impl FnMut(&dyn Fn(usize) -> i32),
    ) -> bool {
        let longest = axis.spans.iter().map(|span| span.1).max().unwrap_or(0);
        self.count = longest.div_ceil(pixels);
        self.firsts.clear();
        let Some(last_start) = source.checked_sub(self.count * pixels) else {
            return false;
        };
        for (first, weights) in axis.iter() {
            // At the end of the row the groups start earlier, and the weights later in them.
            let start = first.min(last_start);
            let before = first - start;
            self.firsts.push(start);
            for group in 0..self.count {
                take(&|pixel| {
                    let index = (group * pixels + pixel).checked_sub(before);
                    index.and_then(|k| weights.get(k)).copied().unwrap_or(0)
                });
            }
        }
        true
    }
}

/// Channels that have a place in the registers: three take the room of four.
pub(super) const fn lanes(channels: usize) -> usize {
    channels.next_power_of_two()
}
