//! The entities of a snapshot: groups, people, machines, environments, targets and actions.
//!
//! In scope: building and validating them; the part of them that one question can reach.
//! Out of scope: resources below targets, which come with each question.
//! Invariant: everything a statement names exists here, so a missing entity can neither make a
//! forbid false nor make it err.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::OnceLock,
};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use countersign_core::{
    directory::{Directory, Machine},
    id::{GroupId, PersonId},
};

use serde_json::Value;

use crate::{
    bundle::{Bundle, MAIN_FILE},
    problem::{Problem, shown},
    schema::{STATIC_TYPES, report},
};

/// The target and environment of the gateway itself.
pub const BUILT_IN_TARGET: &str = "countersign";

/// The entities that do not change from question to question.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) entities: Entities,
    types: HashMap<&'static str, EntityTypeName>,
    /// The owner that an agent or workload refers to.
    owners: HashMap<EntityUid, EntityUid>,
    /// Every entity as it is recorded, written when first needed.
    recorded: HashMap<EntityUid, OnceLock<Option<Recorded>>>,
}

/// An entity as it is recorded.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Its name as Cedar writes it.
    pub(crate) name: String,
    /// Cedar's JSON format.
    pub(crate) value: Value,
}

impl Base {
    /// Builds and validates the entities.
    pub(crate) fn build(bundle: &Bundle, directory: &Directory) -> Result<Self, Vec<Problem>> {
        let types = STATIC_TYPES
            .iter()
            .chain(&["Resource"])
            .filter_map(|name| Some((*name, name.parse().ok()?)))
            .collect();
        let mut builder = Builder {
            base: Self {
                entities: Entities::empty(),
                types,
                owners: HashMap::new(),
                recorded: HashMap::new(),
            },
            made: Vec::new(),
            problems: Vec::new(),
        };
        builder.directory(bundle, directory);
        builder.targets(bundle);
        let Builder {
            mut base,
            made,
            mut problems,
        } = builder;
        match Entities::from_entities(made, Some(&bundle.generated.schema)) {
            Ok(entities) => {
                let uids = entities
                    .iter()
                    .map(|entity| (entity.uid(), OnceLock::new()));
                base.recorded = uids.collect();
                base.entities = entities;
            }
            Err(error) => {
                let help = "check the names of groups, people and targets";
                problems.push(Problem::error(MAIN_FILE, None, report(&error), help));
            }
        }
        if problems.is_empty() {
            base.check_statements(bundle, &mut problems);
        }
        if problems.is_empty() {
            Ok(base)
        } else {
            Err(problems)
        }
    }

    /// An entity's name.
    pub(crate) fn uid(&self, kind: &'static str, name: &str) -> Option<EntityUid> {
        let kind = self.types.get(kind)?.clone();
        Some(EntityUid::from_type_name_and_id(kind, EntityId::new(name)))
    }

    /// How one of these entities is recorded; `None` for any other.
    pub(crate) fn recorded(&self, entity: &Entity) -> Option<&Recorded> {
        let write = || {
            let (name, value) = (entity.uid().to_string(), entity.to_json_value().ok()?);
            Some(Recorded { name, value })
        };
        let written = self.recorded.get(&entity.uid())?.get_or_init(write);
        written.as_ref()
    }

    /// The entities that `starts` can reach by ancestors and owners, each once. `None` when one of
    /// them does not exist.
    pub(crate) fn closure<'a>(
        &'a self,
        starts: impl IntoIterator<Item = &'a EntityUid>,
        seen: &mut HashSet<&'a EntityUid>,
        found: &mut Vec<Entity>,
    ) -> Option<()> {
        let mut open: Vec<&EntityUid> = starts.into_iter().collect();
        while let Some(uid) = open.pop() {
            if !seen.insert(uid) {
                continue;
            }
            let entity = self.entities.get(uid)?;
            found.push(entity.clone());
            open.extend(self.entities.ancestors(uid).into_iter().flatten());
            open.extend(self.owners.get(uid));
        }
        Some(())
    }

    fn check_statements(&self, bundle: &Bundle, problems: &mut Vec<Problem>) {
        for statement in bundle.statements() {
            let literals = statement.lifted.entity_literals();
            let missing: BTreeSet<&EntityUid> = literals
                .iter()
                .chain(&statement.entities)
                .filter(|uid| STATIC_TYPES.contains(&uid.type_name().to_string().as_str()))
                .filter(|uid| self.entities.get(uid).is_none())
                .collect();
            for uid in missing {
                let name = shown(&uid.to_string());
                let message = format!(
                    "statement `{}` names `{name}`, which does not exist",
                    statement.id
                );
                let help = "correct the name, or add it to the directory first";
                let file = statement.file.to_string();
                problems.push(Problem::error(file, statement.line, message, help));
            }
        }
    }
}

/// Entities being made.
struct Builder {
    base: Base,
    made: Vec<Entity>,
    problems: Vec<Problem>,
}

impl Builder {
    fn add(
        &mut self,
        kind: &'static str,
        name: &str,
        attributes: HashMap<String, RestrictedExpression>,
        parents: impl IntoIterator<Item = Option<EntityUid>>,
    ) {
        let parents: Option<HashSet<EntityUid>> = parents.into_iter().collect();
        let made = parents
            .zip(self.base.uid(kind, name))
            .and_then(|(parents, uid)| Entity::new(uid, attributes, parents).ok());
        match made {
            Some(entity) => self.made.push(entity),
            None => {
                let message = format!("`{}` cannot be an entity", shown(name));
                let problem = Problem::error(MAIN_FILE, None, message, "choose another name");
                self.problems.push(problem);
            }
        }
    }

    fn groups<'a>(&self, names: impl IntoIterator<Item = &'a GroupId>) -> Vec<Option<EntityUid>> {
        names
            .into_iter()
            .map(|group| self.base.uid("Group", group.as_str()))
            .collect()
    }

    fn directory(&mut self, bundle: &Bundle, directory: &Directory) {
        let memberships = directory
            .people
            .values()
            .flat_map(|person| person.groups.keys());
        let machines = directory
            .agents
            .values()
            .chain(directory.workloads.values());
        let groups: BTreeSet<&GroupId> = directory
            .groups
            .iter()
            .chain(bundle.config().groups.keys())
            .chain(memberships)
            .chain(machines.flat_map(|machine| &machine.groups))
            .collect();
        for group in groups {
            self.add("Group", group.as_str(), HashMap::new(), []);
        }
        for (id, person) in &directory.people {
            let parents = self.groups(person.groups.keys());
            self.add("Person", id.as_str(), HashMap::new(), parents);
        }
        for (id, machine) in &directory.agents {
            self.machine("Agent", id.as_str(), machine, directory);
        }
        for (id, machine) in &directory.workloads {
            self.machine("Workload", id.as_str(), machine, directory);
        }
    }

    fn machine(&mut self, kind: &'static str, name: &str, machine: &Machine, all: &Directory) {
        let mut attributes = HashMap::new();
        let known = |owner: &&PersonId| all.people.contains_key(*owner);
        let owner = machine.owner.as_ref().filter(known);
        if let Some(owner) = owner.and_then(|owner| self.base.uid("Person", owner.as_str()))
            && let Some(uid) = self.base.uid(kind, name)
        {
            attributes.insert(
                "owner".to_owned(),
                RestrictedExpression::new_entity_uid(owner.clone()),
            );
            self.base.owners.insert(uid, owner);
        }
        let parents = self.groups(&machine.groups);
        self.add(kind, name, attributes, parents);
    }

    fn targets(&mut self, bundle: &Bundle) {
        let environments: BTreeSet<&str> = bundle
            .targets()
            .values()
            .map(|target| target.environment.as_str())
            .collect();
        for environment in environments.into_iter().chain([BUILT_IN_TARGET]) {
            self.add("Environment", environment, HashMap::new(), []);
        }
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let mut add = |name: &str, environment: &str, kind: &str, labels: Vec<&String>| {
            let labels = labels.into_iter().map(|label| text(label));
            let attributes = HashMap::from([
                ("kind".to_owned(), text(kind)),
                ("labels".to_owned(), RestrictedExpression::new_set(labels)),
            ]);
            let parent = self.base.uid("Environment", environment);
            self.add("Target", name, attributes, [parent]);
        };
        for target in bundle.targets().values() {
            let labels = target.labels.iter().collect();
            add(
                target.id.as_str(),
                target.environment.as_str(),
                target.kind.name(),
                labels,
            );
        }
        add(
            BUILT_IN_TARGET,
            BUILT_IN_TARGET,
            BUILT_IN_TARGET,
            Vec::new(),
        );
    }
}
