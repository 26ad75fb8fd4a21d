//! A transformer block: attention and a feed-forward layer, each with a residual connection and a norm.

use candle_core::Tensor;

use crate::activation::add_activated;
use crate::attention::KeysValues;
use crate::{
    Activation, Attention, AttentionSpec, Dropout, LayerNorm, Linear, Mask, Result, Weights,
    at_places, dropped,
};

/// What a block looks like. All blocks of a [`Stack`] share one.
#[derive(Clone, Debug)]
pub struct BlockSpec {
    /// The attention layer, which also gives the block's width.
    pub attention: AttentionSpec,
    /// Width between the two linear maps of the feed-forward layer.
    pub hidden: usize,
    /// Activation between them.
    pub activation: Activation,
    /// Where the norms stand.
    pub norm_place: NormPlace,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
    /// Names in the checkpoint.
    pub names: BlockNames,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// `x + f(norm(x))`: GPT-2, ViT, CLIP.
    Pre,
    /// `norm(x + f(x))`: the original transformer, BERT.
    Post,
}

/// Names of a block's parts.
#[derive(Clone, Copy, Debug)]
pub struct BlockNames {
    /// What stands before the names of the attention's projections.
    pub attention: &'static str,
    /// The norm of the attention layer.
    pub attention_norm: &'static str,
    /// The first linear map of the feed-forward layer.
    pub expand: &'static str,
    /// The second one.
    pub contract: &'static str,
    /// The norm of the feed-forward layer.
    pub feed_forward_norm: &'static str,
}

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) attention: Attention,
    pub(crate) attention_norm: LayerNorm,
    pub(crate) expand: Linear,
    pub(crate) contract: Linear,
    /// Behind the second map.
    pub(crate) adapter: Option<Adapter>,
    pub(crate) feed_forward_norm: LayerNorm,
    pub(crate) activation: Activation,
    pub(crate) norm_place: NormPlace,
    pub(crate) dropout: Option<Dropout>,
}

/// `y + up(relu(down(y)))` of what a feed-forward layer makes: see [`AdapterSpec`](crate::causal::AdapterSpec).
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) down: Linear,
    pub(crate) up: Linear,
}

impl Adapter {
    fn forward(&self, y: &Tensor) -> Result<Tensor> {
        let narrow = self.down.forward_activated(y, Activation::Relu)?;
        self.up.forward_added(&narrow, y)
    }
}

impl Block {
    /// Reads the block's tensors.
    pub fn load(weights: &Weights, spec: &BlockSpec) -> Result<Self> {
        let names = &spec.names;
        let width = spec.attention.width;
        let norm = |name| LayerNorm::load(&weights.scope(name), width, spec.norm_eps);
        Ok(Self {
            attention: Attention::load(&weights.scope(names.attention), &spec.attention)?,
            attention_norm: norm(names.attention_norm)?,
            expand: Linear::load(&weights.scope(names.expand), width, spec.hidden)?,
            contract: Linear::load(&weights.scope(names.contract), spec.hidden, width)?,
            adapter: None,
            feed_forward_norm: norm(names.feed_forward_norm)?,
            activation: spec.activation,
            norm_place: spec.norm_place,
            dropout: weights.dropout(),
        })
    }

    /// The first half and the second side by side, both of the same `x` (GPT-J, GPT-NeoX): `x + attention(norm(x)) +
    /// feed_forward(norm(x))`, with a norm for each. The block's [`NormPlace`] MUST be before.
    pub(crate) fn beside(
        &self,
        x: &Tensor,
        look: impl FnOnce(&Attention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let looked = look(&self.attention, &self.attention_norm.forward(x)?)?;
        let looked = dropped(self.dropout.as_ref(), looked, 0)?;
        let fed = self.feed_forward(&self.feed_forward_norm.forward(x)?)?;
        add_activated(add_activated(looked, &fed, None)?, x, None)
    }

    /// `x` `[B, T, width]`; `other` and `mask` as for [`Attention::forward`]. Returns `[B, T, width]`.
    pub fn forward(
        &self,
        x: &Tensor,
        other: Option<&Tensor>,
        mask: Option<&Mask>,
    ) -> Result<Tensor> {
        let x = self.attend_mixed(x, |attention, x| attention.mixed(x, other, mask))?;
        self.feed(&x)
    }

    /// As [`Self::forward`] on the own sequence, but only the state at a place of each sequence; `[B, 1, width]`.
    fn forward_at(&self, x: &Tensor, mask: Option<&Mask>, places: &[usize]) -> Result<Tensor> {
        let is_pre = self.norm_place == NormPlace::Pre;
        let seen = if is_pre {
            self.attention_norm.forward(x)?
        } else {
            x.clone()
        };
        let looked = self.attention.forward_at(&seen, mask, places)?;
        let looked = dropped(self.dropout.as_ref(), looked, 0)?;
        let sum = add_activated(looked, &at_places(x, places)?.unsqueeze(1)?, None)?;
        self.feed(&if is_pre {
            sum
        } else {
            self.attention_norm.forward(&sum)?
        })
    }

    /// The first half: `x` beside what the block's attention does with it, and the norm.
    pub(crate) fn attend(
        &self,
        x: &Tensor,
        look: impl FnOnce(&Attention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let look = |x: &Tensor| dropped(self.dropout.as_ref(), look(&self.attention, x)?, 0);
        self.norm_place.residual(&self.attention_norm, x, look)
    }

    /// As [`Self::attend`], of what the attention's last map is not yet done with: it does the sum as well.
    pub(crate) fn attend_mixed(
        &self,
        x: &Tensor,
        mix: impl FnOnce(&Attention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.norm_place.around(&self.attention_norm, x, |seen, x| {
            let mixed = mix(&self.attention, seen)?;
            self.add_mapped(x, self.attention.out(), &mixed, 0)
        })
    }

    /// The second half: the feed-forward layer and its norm.
    pub(crate) fn feed(&self, x: &Tensor) -> Result<Tensor> {
        let norm = &self.feed_forward_norm;
        self.norm_place.around(norm, x, |seen, x| {
            if self.adapter.is_some() {
                return add_activated(self.feed_forward(seen)?, x, None);
            }
            let expanded = self.expand.forward_activated(seen, self.activation)?;
            self.add_mapped(x, &self.contract, &expanded, 1)
        })
    }

    /// `x` beside what `map` makes of `y`; `place` as for [`Dropout::forward`].
    fn add_mapped(&self, x: &Tensor, map: &Linear, y: &Tensor, place: u64) -> Result<Tensor> {
        match &self.dropout {
            Some(dropout) => add_activated(dropout.forward(&map.forward(y)?, place)?, x, None),
            None => map.forward_added(y, x),
        }
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        let expanded = self.expand.forward_activated(x, self.activation)?;
        let mut fed = self.contract.forward(&expanded)?;
        if let Some(adapter) = &self.adapter {
            fed = adapter.forward(&fed)?;
        }
        dropped(self.dropout.as_ref(), fed, 1)
    }
}

impl NormPlace {
    /// `x` beside `f` of it, which MUST be fresh (see [`add_activated`]), with `norm` in its place.
    pub(crate) fn residual(
        self,
        norm: &LayerNorm,
        x: &Tensor,
        f: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let f = |seen: &Tensor, x: &Tensor| add_activated(f(seen)?, x, None);
        self.around(norm, x, f)
    }

    /// As [`Self::residual`], for an `f` of what it sees and of `x` that adds `x` itself.
    fn around(
        self,
        norm: &LayerNorm,
        x: &Tensor,
        f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Pre => f(&norm.forward(x)?, x),
            Self::Post => norm.forward(&f(x, x)?),
        }
    }
}

/// Blocks one after the other.
#[derive(Clone, Debug)]
pub struct Stack(Vec<Block>);

impl Stack {
    /// Reads `depth` blocks called `0`, `1`, ….
    pub fn load(weights: &Weights, depth: usize, spec: &BlockSpec) -> Result<Self> {
        let block = |i| Block::load(&weights.scope(i), spec);
        Ok(Self((0..depth).map(block).collect::<Result<_>>()?))
    }

    /// A cache of these blocks that have seen nothing.
    pub fn start(&self) -> StackCache {
        StackCache(vec![None; self.0.len()])
    }

    /// `x` `[B, T, width]` behind the `S` positions that `cache` has seen of the same sequences, which it takes in.
    /// `mask` says for the block of a number who looks at whom, as `[B or 1, heads or 1, T or 1, S + T]`; without a
    /// mask everybody at everything. Returns the states of `x` behind the last block.
    pub fn advance<'m>(
        &self,
        x: Tensor,
        cache: &mut StackCache,
        mask: impl Fn(usize) -> Option<&'m Mask>,
    ) -> Result<Tensor> {
        let mut x = x;
        for (number, (block, seen)) in self.0.iter().zip(&mut cache.0).enumerate() {
            x = block.attend(&x, |attention, x| {
                let (y, now_seen) = attention.look_on(x, seen.as_ref(), mask(number))?;
                *seen = Some(now_seen);
                Ok(y)
            })?;
            x = block.feed(&x)?;
        }
        Ok(x)
    }

    /// As [`Self::forward`], but only the state at a place of each sequence, `places` `[B]`; returns `[B, width]`. Of
    /// the last block nothing else is computed.
    pub fn forward_at(&self, x: Tensor, mask: Option<&Mask>, places: &[usize]) -> Result<Tensor> {
        let Some((last, blocks)) = self.0.split_last() else {
            return at_places(&x, places);
        };
        let mut x = x;
        for block in blocks {
            x = block.forward(&x, None, mask)?;
        }
        Ok(last.forward_at(&x, mask, places)?.squeeze(1)?)
    }

    /// `x` `[B, T, width]` through all blocks. `hidden` is called with `x` and with the result of each block,
    /// `depth + 1` times in all.
    pub fn forward(
        &self,
        x: Tensor,
        mask: Option<&Mask>,
        hidden: &mut dyn FnMut(&Tensor),
    ) -> Result<Tensor> {
        hidden(&x);
        let mut x = x;
        for block in &self.0 {
            x = block.forward(&x, None, mask)?;
            hidden(&x);
        }
        Ok(x)
    }
}

/// What the blocks of a [`Stack`] have seen of each sequence.
#[derive(Clone, Debug)]
pub struct StackCache(Vec<Option<KeysValues>>);

impl StackCache {
    /// Positions seen.
    pub fn len(&self) -> Result<usize> {
        let first = self.0.first().and_then(Option::as_ref);
        first.map_or(Ok(0), KeysValues::len)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The sequences become those that `rows` names, each as often as it is named.
    pub fn select(&mut self, rows: &[usize]) -> Result<()> {
        for seen in self.0.iter_mut().flatten() {
            *seen = seen.select(rows)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "the same operations in the same order give the same bits"
)]
mod tests {
    use candle_core::{D, Device};
    use sightline_core::Seed;

    use super::*;
    use crate::KeyValue;
    use crate::attention::AttentionNames;

    fn spec(norm_place: NormPlace) -> BlockSpec {
        BlockSpec {
            attention: AttentionSpec {
                width: 8,
                heads: 2,
                head_dim: 4,
                key_value: KeyValue::Own,
                names: AttentionNames {
                    query: "q",
                    key: "k",
                    value: "v",
                    out: "o",
                },
            },
            hidden: 16,
            activation: Activation::Gelu,
            norm_place,
            norm_eps: 1e-12,
            names: BlockNames {
                attention: "attention",
                attention_norm: "norm1",
                expand: "up",
                contract: "down",
                feed_forward_norm: "norm2",
            },
        }
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn norms_stand_where_the_spec_says() {
        let weights = Weights::random(Seed(5), &Device::Cpu);
        let x = Tensor::randn(0f32, 1.0, (2, 3, 8), &Device::Cpu).unwrap();
        let parts = |place| Block::load(&weights, &spec(place)).unwrap();

        let block = parts(NormPlace::Pre);
        let seen = block.attention_norm.forward(&x).unwrap();
        let middle = (&x + block.attention.forward(&seen, None, None).unwrap()).unwrap();
        let fed = block.feed_forward_norm.forward(&middle).unwrap();
        let expected = (&middle + block.feed_forward(&fed).unwrap()).unwrap();
        assert_eq!(
            distance(&block.forward(&x, None, None).unwrap(), &expected),
            0.0
        );

        // After a norm with these weights every row has the same mean: that of its bias.
        let block = parts(NormPlace::Post);
        let norm = weights.scope("norm2");
        let weight = norm.tensor("weight", &[8]).unwrap();
        let bias = norm.tensor("bias", &[8]).unwrap();
        let y = block.forward(&x, None, None).unwrap();
        let rows = y
            .broadcast_sub(&bias)
            .unwrap()
            .broadcast_div(&weight)
            .unwrap();
        let means = rows.mean(D::Minus1).unwrap();
        assert!(distance(&means, &means.zeros_like().unwrap()) < 1e-4);
        let squares = rows.sqr().unwrap().mean(D::Minus1).unwrap();
        assert!(distance(&squares, &squares.ones_like().unwrap()) < 1e-2);
    }

    #[test]
    fn a_sequence_in_parts_is_the_whole_sequence() {
        let weights = Weights::random(Seed(6), &Device::Cpu);
        let stack = Stack::load(&weights, 2, &spec(NormPlace::Pre)).unwrap();
        let x = Tensor::randn(0f32, 1.0, (2, 5, 8), &Device::Cpu).unwrap();
        let causal = Mask::causal(5, &Device::Cpu).unwrap();
        let whole = stack.forward(x.clone(), Some(&causal), &mut |_| {});
        let mut cache = stack.start();
        assert!(cache.is_empty().unwrap());
        let mut parts = Vec::new();
        for (start, len) in [(0, 2), (2, 2), (4, 1)] {
            let mask = Mask::causal_behind(start, len, &Device::Cpu).unwrap();
            let part = x.narrow(1, start, len).unwrap();
            parts.push(stack.advance(part, &mut cache, |_| Some(&mask)).unwrap());
        }
        assert_eq!(cache.len().unwrap(), 5);
        let parts = Tensor::cat(&parts, 1).unwrap();
        assert!(distance(&whole.unwrap(), &parts) < 1e-6);
        cache.select(&[1, 1, 0]).unwrap();
        let next = x.narrow(1, 0, 1).unwrap();
        let next = Tensor::cat(&[&next, &next.narrow(0, 0, 1).unwrap()], 0).unwrap();
        assert_eq!(
            stack.advance(next, &mut cache, |_| None).unwrap().dims(),
            [3, 1, 8]
        );
    }

    #[test]
    fn a_stack_shows_every_state() {
        let weights = Weights::random(Seed(6), &Device::Cpu);
        let stack = Stack::load(&weights, 3, &spec(NormPlace::Pre)).unwrap();
        let x = Tensor::randn(0f32, 1.0, (1, 3, 8), &Device::Cpu).unwrap();
        let mut states = Vec::new();
        let last = stack.forward(x.clone(), None, &mut |state| states.push(state.clone()));
        assert_eq!(states.len(), 4);
        assert_eq!(distance(&states[0], &x), 0.0);
        assert_eq!(distance(&states[3], &last.unwrap()), 0.0);
        assert!(distance(&states[1], &states[2]) > 0.0);
    }
}
