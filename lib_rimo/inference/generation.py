"""Draws pictures: prompt with LoRA tags in, images with their settings out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from lib_rimo import __version__
from lib_rimo.errors import UserError
from lib_rimo.files import file_hash
from lib_rimo.inference.apply import Lora, LoraFolder, LoraMerger
from lib_rimo.inference.infotext import (
    RANDOM_SEED,
    Settings,
    check_settings,
    format_infotext,
)
from lib_rimo.inference.prompt import (
    Conditioning,
    encode_prompt,
    prompt_schedule,
    split_composition,
)
from lib_rimo.inference.sampling import GuidedModel, SeededNoise, find_sampler, sample, steps_of
from lib_rimo.lora.files import content_hash
from lib_rimo.messages import Message, Tell
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.text import printable, shortened
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.tags import LoraTag, find_extra_networks, other_kinds, parse_prompt

ActiveLora = tuple[Lora, LoraTag]


@dataclass(frozen=True)
class Picture:
    """A drawn picture with the settings that draw it again."""

    image: Image.Image
    settings: Settings
    infotext: str


class Generator:
    """Draws pictures with one checkpoint and the LoRAs of a folder.

    `tell` is told once each of tags that were left out; such a tag costs the picture that LoRA
    only.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        folder: LoraFolder | None = None,
        *,
        presets: Presets = DEFAULT_PRESETS,
        tell: Tell = print,
    ) -> None:
        self.checkpoint = checkpoint
        self.folder = folder
        self.presets = presets
        self.merger = LoraMerger(checkpoint)
        self._tell, self._told = tell, set[Message]()
        self._hashing = ThreadPoolExecutor(1)
        self._model_hash: Future[str] | None = None

    def steps(self, settings: Settings) -> int:
        """How many sampling steps a batch with these settings takes, for progress bars."""
        sampler, _ = find_sampler(settings.sampler, settings.schedule)
        return steps_of(sampler, settings.steps)

    def draw(
        self,
        settings: Settings,
        *,
        count: int = 1,
        batch_size: int = 1,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Iterator[Picture]:
        """Draw `count` pictures with seeds from the settings' one on; -1 is a random one.

        Raises UserError for settings that are none.
        """
        sampler, schedule = find_sampler(settings.sampler, settings.schedule)
        check_settings(settings)
        if settings.seed == RANDOM_SEED:
            settings = replace(settings, seed=random.randrange(2**32))
        settings = replace(settings, sampler=sampler, schedule=schedule)
        self._begin_hashing()
        for first in range(0, count, batch_size):
            seeds = [settings.seed + n for n in range(first, min(count, first + batch_size))]
            batch = replace(settings, seed=seeds[0])
            loras = self.activate(batch)
            latents = self._draw_latents(batch, seeds, loras, on_step)
            for seed, latent in zip(seeds, latents, strict=True):
                own = replace(settings, seed=seed)
                yield Picture(self.decode(latent), own, self._infotext(own, loras))

    def activate(self, settings: Settings) -> list[ActiveLora]:
        """The LoRAs that a prompt names, merged into the model as at the first step."""
        _, tags, messages = parse_prompt(settings.prompt, self.presets)
        for message in messages:
            self.tell(message)
        for text in other_kinds(settings.prompt):
            left_out = "{tag} was left out: only <lora:...> is drawn here."
            self.tell(Message(left_out, tag=printable(text), level="warning"))
        if any(True for _ in find_extra_networks(settings.negative_prompt)):
            self.tell(
                Message(
                    "Tags such as <lora:...> act in the prompt only; the negative one's are words.",
                    level="warning",
                )
            )
        loras = []
        for tag in tags:
            for message in tag.foreign_options():
                self.tell(message)
            try:
                if self.folder is None:
                    raise UserError("No folder of LoRAs was given: add --lora-dir.")
                lora = self.folder.find(tag.name)
            except UserError as error:
                shown = f"<lora:{shortened(tag.name)}>"
                self.tell(Message("{tag} was left out: {why}", tag=shown, why=error))
                continue
            if lora.embeddings:
                self.tell(
                    Message(
                        "{name} brings embeddings ({names}), which are not used here.",
                        name=lora.name,
                        names=lora.embeddings,
                        level="warning",
                    )
                )
            if tag.blocks is not None and lora.is_for_stable_diffusion:
                for message in tag.blocks.messages_on(lora.blocks, lora.family, lora.name):
                    self.tell(message)
                tag = replace(tag, blocks=tag.blocks.fixed(settings.seed, tag.name))
            loras.append((lora, tag))
        for message in self.merger.apply(at_step(loras, 0, settings.steps)):
            self.tell(message)
        return loras

    def tell(self, message: Message) -> None:
        """Tell a message, unless it was told before."""
        if message not in self._told:
            self._told.add(message)
            self._tell(message)

    def _draw_latents(
        self,
        settings: Settings,
        seeds: Sequence[int],
        loras: Sequence[ActiveLora],
        on_step: Callable[[int], None],
    ) -> Tensor:
        has_steps = any(tag.has_steps for _, tag in loras)

        def before_step(step: int) -> None:
            if has_steps:
                self.merger.apply(at_step(loras, step, settings.steps), steps_done=step)

        negative = self._conditionings(settings.negative_prompt, settings)
        if self.checkpoint.family == "sdxl" and not settings.negative_prompt:
            negative = [conditioning.zeros() for conditioning in negative]
        parts = split_composition(parse_prompt(settings.prompt, self.presets)[0])
        composed = [(self._conditionings(text, settings), weight) for text, weight in parts]
        model = GuidedModel(
            self.checkpoint,
            composed[0][0],
            negative,
            composed=composed if len(parts) > 1 or parts[0][1] != 1 else (),
            cfg_scale=settings.cfg_scale,
            size=(settings.width, settings.height),
            quantize_timesteps=settings.quantize_timesteps,
            before_step=before_step,
        )
        height, width = settings.height // LATENT_PIXELS, settings.width // LATENT_PIXELS
        return sample(
            model,
            SeededNoise(seeds, (4, height, width)),
            sampler=settings.sampler,
            schedule=settings.schedule,
            steps=settings.steps,
            on_step=on_step,
        )

    def _conditionings(self, prompt: str, settings: Settings) -> list[Conditioning]:
        """What the UNet reads at each step."""
        texts = prompt_schedule(prompt, settings.steps)
        read = {
            text: encode_prompt(self.checkpoint, text, clip_skip=settings.clip_skip)
            for text in dict.fromkeys(texts)
        }
        return [read[text] for text in texts]

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Image.Image:
        """The picture of one latent (4, h, w)."""
        vae = self.checkpoint.vae
        scaled = latent[None].to(vae.device, vae.dtype) / vae.config.scaling_factor
        pixels = vae.decode(scaled).sample[0].float()
        pixels = ((pixels + 1) / 2).clamp(0, 1) * 255
        # Cut off, not rounded, as the WebUI has it.
        return Image.fromarray(pixels.permute(1, 2, 0).to("cpu", torch.uint8).numpy())

    def _infotext(self, settings: Settings, loras: Sequence[ActiveLora]) -> str:
        others: dict[str, object] = {
            "Model hash": self._begin_hashing().result()[:10],  # as WebUIs shorten it
            "Model": self.checkpoint.name,
            "RNG": "CPU",
        }
        if loras:
            known = [f"{lora.name}: {lora_hash(lora)}" for lora, _ in loras]
            others["Lora hashes"] = ", ".join(known)
        others["Version"] = f"Rimo {__version__}"
        return format_infotext(settings, others)

    def _begin_hashing(self) -> Future[str]:
        """Find the model's hash while it is drawing; gigabytes take a while."""
        if self._model_hash is None:
            self._model_hash = self._hashing.submit(file_hash, self.checkpoint.path)
        return self._model_hash


def at_step(loras: Sequence[ActiveLora], steps_done: int, steps: int) -> list[ActiveLora]:
    """LoRAs with the strengths of the step after `steps_done` finished ones, of `steps` in all."""
    return [(lora, tag.at(steps_done, steps)) for lora, tag in loras]


def lora_hash(lora: Lora) -> str:
    """The twelve digits by which the WebUI knows a LoRA."""
    return (lora.metadata.get("sshs_model_hash") or content_hash(lora.path))[:12]
