//! Suites: from what is written, with everything it refers to, to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use toml::Spanned;

use crate::catalog::{Catalog, SHARDS, TaskInfo};
use crate::check::{Checker, texts};
use crate::comparison::Comparable;
use crate::error::{Error, Fault, Lack, Where};
use crate::folder::{Kind, manifests_folder};
use crate::plan::{
    Bootstrap, Plan, PlannedDataset, PlannedDecode, PlannedDemonstrations, PlannedModel,
    PlannedTask, SCHEMA,
};
use crate::rules::{self, MAX_BATCH_SIZE, MAX_RESAMPLES};
use crate::schema::{Decode, Demonstrations, Names, Suite, Task};
use crate::span::{Location, SourceFile};

const BEAM: &str = "beam";
const NUCLEUS: &str = "nucleus";
const CONTRASTIVE: &str = "contrastive";
/// How tokens can be chosen.
pub(crate) const STRATEGIES: [&str; 4] = ["greedy", BEAM, NUCLEUS, CONTRASTIVE];
/// Most hypotheses of a beam: more than any published program has by orders of magnitude.
const MAX_BEAM_WIDTH: u32 = 1 << 10;
/// Most candidates of a contrastive search: MAGIC's authors take 45.
const MAX_CANDIDATES: u32 = 1 << 12;
/// Most that an image may count beside probabilities: MAGIC's authors take 2.
const MAX_JUDGEMENT: f64 = 1000.0;
/// Most tokens of a text; families have limits of their own below it.
const MAX_TOKENS: u32 = 1 << 16;

const RANDOM: &str = "random";
const NEAREST: &str = "nearest";
/// How demonstrations can be chosen.
pub(crate) const CHOICES: [&str; 2] = [RANDOM, NEAREST];
/// How the likelihood of a candidate can be taken.
pub(crate) const LIKELIHOODS: [&str; 3] = ["sum", "mean", "byte"];
/// Most demonstrations before a question: no published protocol has more than 32.
const MAX_SHOTS: u32 = 1 << 8;
/// Most demonstrations that are shown as texts alone: those of OpenFlamingo's prompts.
const MAX_TEXTS: u32 = 2;
/// Most samples among which demonstrations are chosen.
const MAX_POOL: u32 = 1 << 30;
/// Most repetitions of an episode's examples: published ones have up to 5.
const MAX_REPEATS: u32 = 100;

const DEFAULT_BATCH_SIZE: u64 = 32;
const DEFAULT_RESAMPLES: u32 = 1000;
const DEFAULT_CONFIDENCE: f64 = 0.95;

/// What the command line says about a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The folder that holds `datasets/` and `models/`; by default the one that holds the suite's folder.
    pub manifests: Option<PathBuf>,
    /// Names of the models whose checkpoint folder is given (`--checkpoint NAME=DIR`).
    pub checkpoints: BTreeSet<String>,
    /// Only these models (`--models`). A model of the suite does the tasks that list it; one that the
    /// suite does not list does every task that its family can do.
    pub models: Option<Vec<String>>,
    /// Only these tasks (`--tasks`).
    pub tasks: Option<Vec<String>>,
    /// At most so many samples of each task (`--limit`).
    pub limit: Option<u64>,
}

/// Reads the suite at `path` and all that it refers to, and checks it against `catalog`.
///
/// Tasks and models that the overrides leave out are not looked up. All problems are reported at once.
pub fn load_suite(path: &Path, catalog: &Catalog, overrides: &Overrides) -> Result<Plan, Error> {
    let folder = match &overrides.manifests {
        Some(folder) => folder.clone(),
        None => manifests_folder(path)?,
    };
    let mut checker = Checker::new(folder, catalog);
    let plan = checker.suite(path, overrides);
    checker.finish(plan)
}

/// A task whose own fields are checked.
struct Draft<'a> {
    name: String,
    info: Option<&'a TaskInfo>,
    metrics: Vec<String>,
    templates: Option<Vec<String>>,
    decode: Option<PlannedDecode>,
    demonstrations: Option<PlannedDemonstrations>,
    repeats: Option<u32>,
    likelihood: Option<String>,
    batch_size: u64,
    limit: Option<u64>,
    written: &'a Task,
}

/// A model that a task is to run, and who says so.
struct Choice<'a> {
    model: &'a str,
    place: Where,
    /// Named on the command line and not in the suite: it runs where it can, and only there.
    is_extra: bool,
}

/// Manifests that were read, by name; `None` for those with problems.
#[derive(Default)]
struct Found {
    datasets: BTreeMap<String, Option<PlannedDataset>>,
    models: BTreeMap<String, Option<PlannedModel>>,
}

impl<'a> Checker<'a> {
    fn suite(&mut self, path: &Path, overrides: &Overrides) -> Option<Plan> {
        let (file, parsed) = self.read::<Suite>(path)?;
        let (file, suite) = (&file, &parsed.value);
        self.own_name(Kind::Suite, file, &suite.name);
        let bootstrap = self.bootstrap(file, suite);
        if let Some(models) = &suite.models {
            self.list("models", "model", file, models);
        }
        if suite.task.is_empty() && parsed.is_whole {
            self.tell_at(file, suite.name.span(), Fault::Empty { field: "task" });
        }
        if overrides.limit == Some(0) {
            self.tell(zero_limit(), Where::Flag("--limit"));
        }

        let drafts = self.drafts(file, &suite.task);
        let comparable: Vec<Comparable> = drafts.iter().map(|one| comparable(suite, one)).collect();
        let comparisons = self.comparisons(file, &suite.comparison, &comparable);
        let drafts = self.select(drafts, overrides.tasks.as_deref());
        let listed = listed(suite);
        let mut found = Found::default();
        let mut tasks = Vec::new();
        for draft in &drafts {
            self.dataset_of(file, draft, &mut found);
            self.others_of(file, draft, overrides, &mut found);
            let models = self.models_of(file, suite, draft, &listed, overrides, &mut found);
            if !models.is_empty() {
                tasks.extend(planned_task(draft, models, &found, overrides.limit));
            }
        }
        self.check_overrides(overrides, &drafts, &listed, &found, &tasks);

        if tasks.is_empty() && self.problems.is_empty() {
            self.tell(Fault::NothingSelected, Where::Flag("--models"));
        }
        let datasets = |task| PlannedTask::other_datasets(task).chain([&task.dataset]);
        let used: BTreeSet<&String> = tasks.iter().flat_map(datasets).collect();
        found.datasets.retain(|name, _| used.contains(name));
        let models = |task: &'_ PlannedTask| -> Vec<String> {
            let all = task.models.iter().chain(task.chooser());
            all.cloned().collect()
        };
        let used: BTreeSet<String> = tasks.iter().flat_map(models).collect();
        found.models.retain(|name, _| used.contains(name));
        Some(Plan {
            schema: SCHEMA,
            suite: suite.name.get_ref().clone(),
            description: suite.description.clone(),
            seed: Seed(suite.seed),
            bootstrap,
            datasets: planned(found.datasets)?,
            models: planned(found.models)?,
            tasks,
            comparisons: comparisons?,
        })
    }

    fn bootstrap(&mut self, file: &Arc<SourceFile>, suite: &Suite) -> Bootstrap {
        let mut bootstrap = Bootstrap {
            resamples: DEFAULT_RESAMPLES,
            confidence: DEFAULT_CONFIDENCE,
        };
        if let Some(resamples) = &suite.bootstrap.resamples {
            let checked = rules::range("resamples", *resamples.get_ref(), &(1..=MAX_RESAMPLES));
            let checked = self.keep(file, resamples.span(), checked);
            bootstrap.resamples = checked.unwrap_or(DEFAULT_RESAMPLES);
        }
        if let Some(confidence) = &suite.bootstrap.confidence {
            let checked = rules::confidence(*confidence.get_ref());
            let checked = self.keep(file, confidence.span(), checked);
            bootstrap.confidence = checked.unwrap_or(DEFAULT_CONFIDENCE);
        }
        bootstrap
    }

    /// Every task with its own fields checked, and what it refers to not yet.
    fn drafts<'t>(&mut self, file: &Arc<SourceFile>, tasks: &'t [Spanned<Task>]) -> Vec<Draft<'t>>
    where
        'a: 't,
    {
        let mut drafts: Vec<Draft<'t>> = Vec::new();
        for written in tasks {
            let draft = self.draft(file, written.get_ref());
            if drafts.iter().any(|other| other.name == draft.name) {
                let task = written.get_ref();
                let span = task.name.as_ref().unwrap_or(&task.kind).span();
                let name = draft.name.clone();
                self.tell_at(file, span, Fault::Duplicate { kind: "task", name });
            }
            drafts.push(draft);
        }
        drafts
    }

    fn draft<'t>(&mut self, file: &Arc<SourceFile>, task: &'t Task) -> Draft<'t>
    where
        'a: 't,
    {
        let catalog = self.catalog;
        let kind = task.kind.get_ref();
        let info = catalog.task(kind);
        if info.is_none() {
            let known = catalog.tasks.iter().map(|task| task.kind.as_str());
            let error = UnknownName::among("task kind", kind, known);
            self.tell_at(file, task.kind.span(), Fault::UnknownName { error });
        }
        if let Some(name) = &task.name {
            self.keep(file, name.span(), rules::name(name.get_ref()));
        }
        if let Some(models) = &task.models {
            self.list("models", "model", file, models);
        }
        if let Some(metrics) = &task.metrics {
            self.list("metrics", "metric", file, metrics);
            for metric in metrics.get_ref() {
                // Without a known kind there is nothing to compare with.
                if let Some(info) = info {
                    let known = info.metrics.iter().chain(&info.more_metrics);
                    self.known("metric", file, metric, known);
                }
            }
        }
        self.options(file, task, info);
        let templates = task
            .templates
            .as_ref()
            .map(|list| self.templates(file, list));
        let decode = task
            .decode
            .as_ref()
            .and_then(|decode| self.decode(file, decode.get_ref()));
        let demonstrations = task
            .demonstrations
            .as_ref()
            .and_then(|written| self.demonstrations(file, written.get_ref()));
        let repeats = task.repeats.as_ref().and_then(|repeats| {
            let checked = rules::range("repeats", *repeats.get_ref(), &(0..=MAX_REPEATS));
            self.keep(file, repeats.span(), checked)
        });
        let likelihoods = LIKELIHOODS.map(str::to_owned);
        let likelihood = (task.likelihood.as_ref())
            .and_then(|written| self.known("likelihood", file, written, &likelihoods));
        let batch_size = task.batch_size.as_ref().and_then(|size| {
            let checked = rules::range("batch_size", *size.get_ref(), &(1..=MAX_BATCH_SIZE));
            self.keep(file, size.span(), checked)
        });
        if let Some(limit) = task.limit.as_ref().filter(|limit| *limit.get_ref() == 0) {
            self.tell_at(file, limit.span(), zero_limit());
        }
        let default_name = || {
            let shown = demonstrations.as_ref().map(shots_name);
            let repeats = repeats.map(|repeats| format!("-{repeats}-repeats"));
            let likelihood = likelihood.as_ref().map(|how| format!("-by-{how}"));
            let further: String = [shown, repeats, likelihood].into_iter().flatten().collect();
            format!("{kind}-{}{further}", task.dataset.get_ref())
        };
        Draft {
            name: task
                .name
                .as_ref()
                .map_or_else(default_name, |name| name.get_ref().clone()),
            info,
            metrics: match &task.metrics {
                Some(metrics) => texts(metrics),
                None => info.map_or_else(Vec::new, |info| info.metrics.clone()),
            },
            templates,
            decode,
            demonstrations: demonstrations.clone(),
            repeats,
            likelihood: likelihood.clone(),
            batch_size: batch_size.unwrap_or(DEFAULT_BATCH_SIZE),
            limit: task.limit.as_ref().map(|limit| *limit.get_ref()),
            written: task,
        }
    }

    /// Checks that the fields of a task mean something for its kind, and that those are there which it needs.
    fn options(&mut self, file: &Arc<SourceFile>, task: &Task, info: Option<&TaskInfo>) {
        let kind = task.kind.get_ref();
        let spans = [
            ("templates", task.templates.as_ref().map(Spanned::span)),
            ("decode", task.decode.as_ref().map(Spanned::span)),
            ("prompt", task.prompt.as_ref().map(Spanned::span)),
            ("train", task.train.as_ref().map(Spanned::span)),
            (
                "demonstrations",
                task.demonstrations.as_ref().map(Spanned::span),
            ),
            ("repeats", task.repeats.as_ref().map(Spanned::span)),
            ("likelihood", task.likelihood.as_ref().map(Spanned::span)),
        ];
        for (field, span) in &spans {
            if let (Some(span), Some(info)) = (span, info)
                && !info.options.iter().any(|option| option == field)
            {
                let kind = info.kind.clone();
                self.tell_at(file, span.clone(), Fault::Meaningless { field, kind });
            }
        }
        for (field, span) in spans {
            if span.is_none()
                && let Some(info) = info
                && info.needs_options.iter().any(|needed| needed == field)
            {
                let with = format!("a task of the kind `{kind}`");
                self.tell_at(file, task.kind.span(), Fault::MissingWith { field, with });
            }
        }
    }

    /// Demonstrations, checked.
    fn demonstrations(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Demonstrations,
    ) -> Option<PlannedDemonstrations> {
        let choices = CHOICES.map(str::to_owned);
        let choice = match &written.choice {
            Some(choice) => self.known("choice", file, choice, &choices)?,
            None => RANDOM.to_owned(),
        };
        let is_nearest = choice == NEAREST;
        let with = || format!("the choice `{choice}`");
        match &written.by {
            Some(by) if !is_nearest => {
                let fault = Fault::MeaninglessWith {
                    field: "by",
                    with: with(),
                };
                self.tell_at(file, by.span(), fault);
            }
            None if is_nearest => {
                let fault = Fault::MissingWith {
                    field: "by",
                    with: with(),
                };
                self.tell_at(file, written.dataset.span(), fault);
            }
            _ => {}
        }
        let shots = *written.shots.get_ref();
        if let Some(texts) = &written.texts
            && shots > 0
        {
            let fault = Fault::MeaninglessWith {
                field: "texts",
                with: format!("{shots} shots"),
            };
            self.tell_at(file, texts.span(), fault);
        }
        let shots_checked = rules::range("shots", shots, &(0..=MAX_SHOTS));
        let shots = self.keep(file, written.shots.span(), shots_checked)?;
        let mut number = |field, written: &Option<Spanned<u32>>, most| {
            let written = written.as_ref()?;
            let checked = rules::range(field, *written.get_ref(), &(1..=most));
            self.keep(file, written.span(), checked)
        };
        let texts = number("texts", &written.texts, MAX_TEXTS);
        let pool = number("pool", &written.pool, MAX_POOL);
        Some(PlannedDemonstrations {
            dataset: written.dataset.get_ref().clone(),
            shots,
            texts,
            choice,
            by: written.by.as_ref().map(|by| by.get_ref().clone()),
            pool,
        })
    }

    /// How texts are written, checked.
    fn decode(&mut self, file: &Arc<SourceFile>, written: &Decode) -> Option<PlannedDecode> {
        let strategies = STRATEGIES.map(str::to_owned);
        let strategy = self.known("strategy", file, &written.strategy, &strategies)?;
        let with = || format!("the strategy `{strategy}`");
        for (field, of, span) in [
            ("width", BEAM, written.width.as_ref().map(Spanned::span)),
            ("p", NUCLEUS, written.p.as_ref().map(Spanned::span)),
            (
                "candidates",
                CONTRASTIVE,
                written.candidates.as_ref().map(Spanned::span),
            ),
            (
                "penalty",
                CONTRASTIVE,
                written.penalty.as_ref().map(Spanned::span),
            ),
            (
                "judgement",
                CONTRASTIVE,
                written.judgement.as_ref().map(Spanned::span),
            ),
        ] {
            match span {
                Some(span) if strategy != of => {
                    let fault = Fault::MeaninglessWith {
                        field,
                        with: with(),
                    };
                    self.tell_at(file, span, fault);
                }
                None if strategy == of => {
                    let fault = Fault::MissingWith {
                        field,
                        with: with(),
                    };
                    self.tell_at(file, written.strategy.span(), fault);
                }
                _ => {}
            }
        }
        let mut number = |field, written: &Option<Spanned<u32>>, most| {
            let written = written.as_ref()?;
            let checked = rules::range(field, *written.get_ref(), &(1..=most));
            self.keep(file, written.span(), checked)
        };
        let width = number("width", &written.width, MAX_BEAM_WIDTH);
        let max_tokens = number("max_tokens", &written.max_tokens, MAX_TOKENS);
        let candidates = number("candidates", &written.candidates, MAX_CANDIDATES);
        let mut weight = |field, written: &Option<Spanned<f64>>, most| {
            let written = written.as_ref()?;
            let checked = rules::range(field, *written.get_ref(), &(0.0..=most));
            self.keep(file, written.span(), checked)
        };
        let penalty = weight("penalty", &written.penalty, 1.0);
        let judgement = weight("judgement", &written.judgement, MAX_JUDGEMENT);
        let p = written
            .p
            .as_ref()
            .and_then(|p| self.keep(file, p.span(), rules::probability("p", *p.get_ref())));
        Some(PlannedDecode {
            strategy,
            width,
            p,
            candidates,
            penalty,
            judgement,
            max_tokens,
        })
    }

    /// The drafts that `--tasks` names, in the order of the suite.
    fn select<'t>(&mut self, drafts: Vec<Draft<'t>>, wanted: Option<&[String]>) -> Vec<Draft<'t>> {
        let Some(wanted) = wanted else {
            return drafts;
        };
        for name in wanted {
            if !drafts.iter().any(|draft| draft.name == *name) {
                let known = drafts.iter().map(|draft| draft.name.as_str());
                let error = UnknownName::among("task", name, known);
                self.tell(Fault::UnknownName { error }, Where::Flag("--tasks"));
            }
        }
        drafts
            .into_iter()
            .filter(|draft| wanted.contains(&draft.name))
            .collect()
    }

    /// Reads the dataset of a task and checks that it has what the kind needs.
    fn dataset_of(&mut self, file: &Arc<SourceFile>, draft: &Draft<'_>, found: &mut Found) {
        let written = &draft.written.dataset;
        let (Some(info), Some((dataset, form))) = (
            draft.info,
            self.dataset_with_form(file, draft, written, found),
        ) else {
            return;
        };
        let (name, place) = (
            written.get_ref(),
            Where::File(Location::new(file, written.span())),
        );
        if !info.needs_classes {
            return;
        }
        for (field, is_there) in [
            // Annotations say the class of each image themselves.
            (
                "class_field",
                form != SHARDS || dataset.class_field.is_some(),
            ),
            ("classes", dataset.classes.is_some()),
        ] {
            if !is_there {
                let fault = Fault::NoClasses {
                    dataset: name.clone(),
                    field,
                    kind: info.kind.clone(),
                };
                self.tell(fault, place.clone());
            }
        }
    }

    /// Reads a dataset of a task, and returns it with its form if that is one of the kind's.
    fn dataset_with_form<'f>(
        &mut self,
        file: &Arc<SourceFile>,
        draft: &Draft<'_>,
        written: &Spanned<String>,
        found: &'f mut Found,
    ) -> Option<(&'f PlannedDataset, &'f str)> {
        let name = written.get_ref();
        let place = Where::File(Location::new(file, written.span()));
        if !found.datasets.contains_key(name) {
            let dataset = self.dataset(name, &place);
            found.datasets.insert(name.clone(), dataset);
        }
        let (Some(Some(dataset)), Some(info)) = (found.datasets.get(name), draft.info) else {
            return None;
        };
        let annotations = dataset.annotations.as_ref();
        let form = annotations.map_or(SHARDS, |annotations| &annotations.form);
        if info.forms.iter().any(|known| known == form) {
            return Some((dataset, form));
        }
        let fault = Fault::Form {
            dataset: name.clone(),
            form: form.to_owned(),
            kind: info.kind.clone(),
            forms: info.forms.clone(),
        };
        self.tell(fault, place);
        None
    }

    /// Reads the datasets and the model that a task needs beside its own.
    fn others_of(
        &mut self,
        file: &Arc<SourceFile>,
        draft: &Draft<'_>,
        overrides: &Overrides,
        found: &mut Found,
    ) {
        let shown = draft.written.demonstrations.as_ref().map(Spanned::get_ref);
        let datasets = (draft.written.train.iter()).chain(shown.map(|shown| &shown.dataset));
        for written in datasets {
            self.dataset_with_form(file, draft, written, found);
        }
        let Some(by) = shown.and_then(|shown| shown.by.as_ref()) else {
            return;
        };
        let name = by.get_ref();
        let place = Where::File(Location::new(file, by.span()));
        if !found.models.contains_key(name) {
            let model = self.model(name, &place, &overrides.checkpoints);
            found.models.insert(name.clone(), model);
        }
        let embeds = TaskInfo {
            kind: "the choice of demonstrations".to_owned(),
            needs: vec!["embed".to_owned()],
            ..TaskInfo::default()
        };
        if let Some(Some(model)) = found.models.get(name)
            && let Some(fault) = self.lacks(name, model, &draft.name, &embeds)
        {
            self.tell(fault, place);
        }
    }

    /// Names of the models of a task that can do it; the others are problems.
    fn models_of(
        &mut self,
        file: &Arc<SourceFile>,
        suite: &Suite,
        draft: &Draft<'_>,
        listed: &BTreeSet<&str>,
        overrides: &Overrides,
        found: &mut Found,
    ) -> Vec<String> {
        let Some(own) = draft.written.models.as_ref().or(suite.models.as_ref()) else {
            let task = draft.name.clone();
            self.tell_at(file, draft.written.kind.span(), Fault::NoModels { task });
            return Vec::new();
        };
        let mut names = Vec::new();
        for choice in choices(file, own, listed, overrides.models.as_deref()) {
            if !found.models.contains_key(choice.model) {
                let model = self.model(choice.model, &choice.place, &overrides.checkpoints);
                found.models.insert(choice.model.to_owned(), model);
            }
            let (Some(Some(model)), Some(info)) = (found.models.get(choice.model), draft.info)
            else {
                continue;
            };
            match self.lacks(choice.model, model, &draft.name, info) {
                None => names.push(choice.model.to_owned()),
                Some(_) if choice.is_extra => {}
                Some(fault) => self.tell(fault, choice.place),
            }
        }
        names
    }

    /// Why a model cannot do a task, if it cannot.
    fn lacks(
        &self,
        name: &str,
        model: &PlannedModel,
        task: &str,
        info: &TaskInfo,
    ) -> Option<Fault> {
        let family = self.catalog.family(&model.family)?;
        if info
            .needs
            .iter()
            .any(|need| family.capabilities.contains(need))
        {
            return None;
        }
        let lack = Lack {
            model: name.to_owned(),
            family: family.name.clone(),
            capabilities: family.capabilities.clone(),
            task: task.to_owned(),
            kind: info.kind.clone(),
            needs: info.needs.clone(),
        };
        Some(Fault::Capability {
            lack: Box::new(lack),
        })
    }

    /// Checks that every name on the command line had an effect.
    fn check_overrides(
        &mut self,
        overrides: &Overrides,
        drafts: &[Draft<'_>],
        listed: &BTreeSet<&str>,
        found: &Found,
        tasks: &[PlannedTask],
    ) {
        for name in overrides.models.iter().flatten() {
            let is_idle = !tasks.iter().any(|task| task.models.contains(name));
            if is_idle
                && !listed.contains(name.as_str())
                && let Some(Some(model)) = found.models.get(name)
                && let Some((draft, info)) = drafts.iter().find_map(|d| Some((d, d.info?)))
                && let Some(fault) = self.lacks(name, model, &draft.name, info)
            {
                self.tell(fault, Where::Flag("--models"));
            }
        }
        for name in &overrides.checkpoints {
            if !listed.contains(name.as_str()) && !found.models.contains_key(name) {
                let known = listed.iter().copied();
                let known = known.chain(found.models.keys().map(String::as_str));
                let error = UnknownName::among("model of the suite", name, known);
                self.tell(Fault::UnknownName { error }, Where::Flag("--checkpoint"));
            }
        }
    }
}

/// The models that a task with the list `own` is to run, in the order of that list, or of `--models`.
fn choices<'a>(
    file: &Arc<SourceFile>,
    own: &'a Names,
    listed: &BTreeSet<&str>,
    wanted: Option<&'a [String]>,
) -> Vec<Choice<'a>> {
    let in_file = |model: &'a Spanned<String>| Choice {
        model: model.get_ref(),
        place: Where::File(Location::new(file, model.span())),
        is_extra: false,
    };
    let Some(wanted) = wanted else {
        return own.get_ref().iter().map(in_file).collect();
    };
    let mut choices: Vec<Choice<'a>> = Vec::new();
    for name in wanted {
        if choices.iter().any(|choice| choice.model == name) {
            continue;
        }
        if let Some(model) = own.get_ref().iter().find(|model| model.get_ref() == name) {
            choices.push(in_file(model));
        } else if !listed.contains(name.as_str()) {
            choices.push(Choice {
                model: name,
                place: Where::Flag("--models"),
                is_extra: true,
            });
        }
    }
    choices
}

/// A task, as comparisons refer to it.
fn comparable(suite: &Suite, draft: &Draft<'_>) -> Comparable {
    let models = draft.written.models.as_ref().or(suite.models.as_ref());
    Comparable {
        task: draft.name.clone(),
        models: models.map_or_else(Vec::new, texts),
        metrics: draft.metrics.clone(),
    }
}

/// Every model that a suite names.
fn listed(suite: &Suite) -> BTreeSet<&str> {
    let of_tasks = suite
        .task
        .iter()
        .filter_map(|task| task.get_ref().models.as_ref());
    suite
        .models
        .iter()
        .chain(of_tasks)
        .flat_map(Spanned::get_ref)
        .map(|model| model.get_ref().as_str())
        .collect()
}

/// The plan of a task, if its kind and dataset are known.
fn planned_task(
    draft: &Draft<'_>,
    models: Vec<String>,
    found: &Found,
    limit: Option<u64>,
) -> Option<PlannedTask> {
    let info = draft.info?;
    let dataset = draft.written.dataset.get_ref();
    let templates = match &draft.templates {
        _ if !info.options.iter().any(|option| option == "templates") => Vec::new(),
        Some(templates) => templates.clone(),
        None => found.datasets.get(dataset)?.as_ref()?.templates.clone(),
    };
    Some(PlannedTask {
        name: draft.name.clone(),
        kind: info.kind.clone(),
        dataset: dataset.clone(),
        models,
        metrics: draft.metrics.clone(),
        templates,
        decode: draft.decode.clone(),
        prompt: draft
            .written
            .prompt
            .as_ref()
            .map(|prompt| prompt.get_ref().clone()),
        train: (draft.written.train.as_ref()).map(|train| train.get_ref().clone()),
        demonstrations: draft.demonstrations.clone(),
        repeats: draft.repeats,
        likelihood: draft.likelihood.clone(),
        batch_size: usize::try_from(draft.batch_size).ok()?,
        limit: draft.limit.into_iter().chain(limit).min(),
    })
}

/// The entries, if none has problems.
fn planned<T>(found: BTreeMap<String, Option<T>>) -> Option<BTreeMap<String, T>> {
    found
        .into_iter()
        .map(|(name, entry)| Some((name, entry?)))
        .collect()
}

/// What demonstrations add to the name of a task.
fn shots_name(shown: &PlannedDemonstrations) -> String {
    match (shown.shots, shown.texts) {
        (0, Some(texts)) => format!("-0-shot-{texts}-texts"),
        (0, None) => "-0-shot".to_owned(),
        (shots, _) => format!("-{shots}-shot-{}", shown.choice),
    }
}

fn zero_limit() -> Fault {
    Fault::Range {
        field: "limit",
        value: "0".to_owned(),
        limit: "1 or more".to_owned(),
    }
}
