/** A sequence of steps that goes on for ever; what comes next may depend on what was answered. */

import { Auth, KV } from '../../../../src/protocol/generated/etcdserverpb.ts';
import type { CampaignRequest, CampaignResponse } from '../../../../src/protocol/generated/v3electionpb.ts';
import { Election } from '../../../../src/protocol/generated/v3electionpb.ts';
import { dice } from '../dice.ts';
import type { Step } from '../steps.ts';
import { authSteps, prologue } from './auth.ts';
import { compactSteps, kvStep } from './kv.ts';
import { contestStep, leaseSteps } from './leases.ts';
import { Scene } from './scene.ts';
import { upkeepSteps } from './upkeep.ts';
import { watchSteps } from './watches.ts';

/** Watchers are compared at least once in so many steps. */
const DRAIN_EVERY = 150;

export class Sequence {
  readonly scene: Scene;
  #ahead: Step[] = [];
  #sinceDrain = 0;

  /** Every third seed has users with permissions. */
  constructor(seed: number) {
    this.scene = new Scene(dice(seed), seed % 3 === 0);
    if (this.scene.withAuth) this.#ahead = prologue();
  }

  next(): Step {
    if (this.#ahead.length === 0) this.#ahead = this.#more();
    const step = this.#ahead.shift() as Step;
    this.#sinceDrain = step.kind === 'drain' ? 0 : this.#sinceDrain + 1;
    return step;
  }

  #more(): Step[] {
    const { scene } = this;
    const { dice } = scene;
    if (this.#sinceDrain >= DRAIN_EVERY) return [{ kind: 'drain' }];
    scene.chooseCaller();
    return dice.weighted<() => Step[]>([
      [120, () => [kvStep(scene)]],
      [2, () => compactSteps(scene)],
      [20, () => leaseSteps(scene)],
      [15, () => watchSteps(scene)],
      [5, () => [contestStep(scene)]],
      [12, () => upkeepSteps(scene)],
      [scene.withAuth ? 50 : 4, () => authSteps(scene)],
    ])();
  }

  /** Learns from an answer that was the same on both. `undefined`: a refusal, or an answer of another kind. */
  learn(step: Step, answer: unknown): void {
    const { scene } = this;
    if (step.kind === 'open') scene.streams.add(step.stream);
    if (step.kind === 'close') scene.streams.delete(step.stream);
    if (answer === undefined) return;
    const { header } = answer as { header?: { revision: bigint } };
    if (header !== undefined && header.revision > scene.revision) scene.revision = header.revision;
    if (step.kind !== 'call') return;
    const { method, request } = step;
    if (method.path === KV.compact.path) scene.compacted = (request as { revision: bigint }).revision;
    if (method.path === Auth.authEnable.path) scene.authOn = true;
    if (method.path === Auth.authDisable.path) scene.authOn = false;
    if (method.path === Election.campaign.path)
      this.#learnLeader(request as CampaignRequest, answer as CampaignResponse);
  }

  #learnLeader({ name }: CampaignRequest, { leader }: CampaignResponse): void {
    if (leader) this.scene.leaders.set(Buffer.from(name).toString('latin1').slice('vote-'.length), leader);
  }
}
