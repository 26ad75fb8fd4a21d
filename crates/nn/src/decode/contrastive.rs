//! Contrastive search (Su et al. 2022, arXiv 2202.06417) and MAGIC search (Su et al. 2022, arXiv 2205.02655).

use candle_core::{DType, Device, Tensor};

use super::{Hypothesis, Network, Predicted, largest};
use crate::{Error, Result};

/// A network that shows the state behind each token.
pub trait StateNetwork: Network {
    /// As [`Network::step`], with the states of the rows' new tokens `[rows, width]` behind the logits.
    fn step_with_states(&mut self, tokens: &[u32]) -> Result<(Tensor, Tensor)>;
}

/// Says how good continuations are by something else than the network, such as an image.
pub trait Judge {
    /// A number for each of `continuations`: the tokens behind the prompt, the candidate the last.
    fn judge(&mut self, continuations: &[Vec<u32>]) -> Result<Vec<f32>>;
}

/// What contrastive search looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastiveSpec {
    /// k: how many of the most likely tokens are candidates, at least 1.
    pub candidates: usize,
    /// α: from 0, the most likely token, to 1, the one most unlike all before it.
    pub penalty: f32,
    /// β: how much the judge counts; 0: it is not asked, which is contrastive search.
    pub judgement: f32,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// Most tokens.
    pub limit: usize,
}

/// What was weighed for one token. All lists have a number for each candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastiveStep {
    /// The candidates, the most likely first.
    pub candidates: Vec<u32>,
    /// Their probabilities among all tokens.
    pub confidence: Vec<f32>,
    /// The largest cosine between their states and those before.
    pub penalty: Vec<f32>,
    /// What the judge says; empty if it was not asked.
    pub judged: Vec<f32>,
    /// `(1 - α) confidence - α penalty + β judged`; the first of the largest is chosen.
    pub score: Vec<f32>,
}

/// Continues one prompt, which `network` has seen as its only row. `first` `[1, V]` are the logits behind it, `states`
/// `[T, width]` the states of all its tokens; `seen` is called with what was weighed for each token. The score of what
/// is found is the sum of log-probabilities.
pub fn contrastive<N: StateNetwork + ?Sized>(
    network: &mut N,
    first: &Tensor,
    states: &Tensor,
    spec: &ContrastiveSpec,
    mut judge: Option<&mut dyn Judge>,
    seen: &mut dyn FnMut(ContrastiveStep),
) -> Result<Hypothesis> {
    let mut context = unit_rows(states)?;
    let mut logits = first.clone();
    let mut found = Hypothesis::empty();
    while found.ids.len() < spec.limit {
        let count = spec.candidates.max(1);
        let predicted = Predicted::new(&logits, 1, Some(count))?;
        let best = predicted.of(0, 1).rows().next();
        let best = best.map_or_else(Vec::new, |row| row.best(count));
        let candidates: Vec<u32> = best.iter().map(|&(id, _)| id).collect();
        let confidence: Vec<f32> = best.iter().map(|(_, value)| value.exp()).collect();

        network.select(&vec![0; candidates.len()])?;
        let (next, states) = network.step_with_states(&candidates)?;
        let states = unit_rows(&states)?;
        let penalty: Vec<f32> = states
            .iter()
            .map(|state| nearest(state, &context))
            .collect();
        let judged = match &mut judge {
            Some(judge) if spec.judgement != 0.0 => {
                let behind = |&id: &u32| [&found.ids[..], &[id]].concat();
                let continuations: Vec<Vec<u32>> = candidates.iter().map(behind).collect();
                let judged = judge.judge(&continuations)?;
                if judged.len() != candidates.len() {
                    return Err(Error::Shape {
                        what: "the list of judgements",
                        found: vec![judged.len()],
                        wanted: format!("[{}]", candidates.len()),
                    });
                }
                judged
            }
            _ => Vec::new(),
        };
        let score = |i: usize| {
            let judged = judged.get(i).map_or(0.0, |judged| spec.judgement * judged);
            (1.0 - spec.penalty) * confidence[i] - spec.penalty * penalty[i] + judged
        };
        let score: Vec<f32> = (0..candidates.len()).map(score).collect();
        // There is a candidate: only a vocabulary of nothing has none, and that ends the search.
        let Some(&(chosen, _)) = largest(score.iter().copied(), 1).first() else {
            break;
        };
        let token = candidates[chosen];
        found = found.followed_by(token, found.score + best[chosen].1);
        context.push(states[chosen].clone());
        seen(ContrastiveStep {
            candidates,
            confidence,
            penalty,
            judged,
            score,
        });
        if spec.ends.contains(&token) {
            break;
        }
        network.select(&[chosen])?;
        logits = next.narrow(0, chosen, 1)?;
    }
    Ok(found)
}

/// The largest cosine between `state` and any of `context`, all of unit length; -1 without a context.
fn nearest(state: &[f32], context: &[Vec<f32>]) -> f32 {
    let cosine = |other: &Vec<f32>| state.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    context.iter().map(cosine).fold(-1.0, f32::max)
}

fn unit_rows(states: &Tensor) -> Result<Vec<Vec<f32>>> {
    let states = states.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let mut rows = states.to_vec2::<f32>()?;
    for row in &mut rows {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        for v in row.iter_mut() {
            *v /= length;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;
    use crate::causal::{CausalNetwork, Next, example};
    use crate::decode::{Greedy, run};
    use crate::{CausalTransformer, Weights};

    struct Wants(u32);

    impl Judge for Wants {
        fn judge(&mut self, continuations: &[Vec<u32>]) -> Result<Vec<f32>> {
            let judge = |ids: &Vec<u32>| f32::from(ids.last() == Some(&self.0));
            Ok(continuations.iter().map(judge).collect())
        }
    }

    fn search(spec: &ContrastiveSpec, judge: Option<&mut dyn Judge>) -> Vec<u32> {
        let weights = Weights::random(Seed(9), &Device::Cpu);
        let model = CausalTransformer::load(&weights, &weights, &example()).unwrap();
        let embeds = model.embed(&[vec![1, 2]]).unwrap();
        let (mut network, hidden) = CausalNetwork::read(&model, Next::new(&embeds)).unwrap();
        let first = model
            .logits(&hidden.narrow(1, 1, 1).unwrap().squeeze(1).unwrap())
            .unwrap();
        let states = hidden.get(0).unwrap();
        let mut steps = 0;
        let found = contrastive(&mut network, &first, &states, spec, judge, &mut |step| {
            assert_eq!(step.candidates.len(), spec.candidates);
            steps += 1;
        });
        let found = found.unwrap().ids;
        assert_eq!(steps, found.len());
        if spec.penalty == 0.0 && spec.judgement == 0.0 {
            let (mut network, _) = CausalNetwork::read(&model, Next::new(&embeds)).unwrap();
            let greedy = vec![Greedy::new(&spec.ends, spec.limit)];
            let greedy = run(&mut network, &first, greedy).unwrap();
            assert_eq!(found, greedy[0][0].ids);
        }
        found
    }

    #[test]
    fn without_penalty_it_is_greedy_and_a_judge_can_overrule() {
        let mut spec = ContrastiveSpec {
            candidates: 11,
            penalty: 0.0,
            judgement: 0.0,
            ends: Vec::new(),
            limit: 6,
        };
        assert_eq!(search(&spec, None).len(), 6);
        spec.judgement = 10.0;
        assert_eq!(search(&spec, Some(&mut Wants(4))), [4; 6]);
        spec.ends = vec![4];
        assert_eq!(search(&spec, Some(&mut Wants(4))), [4]);
        spec.limit = 0;
        assert_eq!(search(&spec, None), [0; 0]);
    }

    #[test]
    fn a_penalty_keeps_from_repeating() {
        let spec = |penalty| ContrastiveSpec {
            candidates: 11,
            penalty,
            judgement: 0.0,
            ends: Vec::new(),
            limit: 6,
        };
        let distinct = |ids: Vec<u32>| ids.into_iter().collect::<std::collections::BTreeSet<_>>();
        assert!(distinct(search(&spec(0.9), None)).len() > 1);
    }
}
