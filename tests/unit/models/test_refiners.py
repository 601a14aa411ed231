"""One contract for all refiners, then what is particular to each, and the losses by hand."""

import copy
import math

import pytest
import torch
from cadastral_vectorizer.engine.errors import ModelPackageError
from cadastral_vectorizer.models.losses import refiner as losses
from cadastral_vectorizer.models.refiners import VARIANTS, build_refiner
from cadastral_vectorizer.models.refiners.base import sobel_magnitude
from cadastral_vectorizer.models.refiners.guided import GroupNorm
from cadastral_vectorizer.models.refiners.patchgan import PatchGan
from cadastral_vectorizer.models.refiners.segmentello import shortcut
from cadastral_vectorizer.models.refiners.vinokurov import VinokurovGenerator

torch.set_num_threads(1)


def count(module):
    return sum(p.numel() for p in module.parameters())


def make_batch(size, n=2):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(n, 3, size, size, generator=generator)
    coarse = torch.rand(n, 1, size, size, generator=generator)
    return image, coarse, torch.zeros_like(coarse)


@pytest.fixture(scope="module", params=VARIANTS)
def network(request):
    torch.manual_seed(0)
    return build_refiner(*VARIANTS[request.param]).eval()


class TestContract:
    """Every refiner passes these."""

    def test_logits_have_the_shape_of_the_crop(self, network):
        size = 2 * network.stride
        with torch.inference_mode():
            refined = network(*make_batch(size))
        assert refined.logits.shape == (2, 1, size, size)
        assert refined.logits.dtype == torch.float32
        assert torch.isfinite(refined.logits).all()

    def test_crop_sizes_are_ascending_multiples_of_the_stride(self, network):
        assert list(network.crop_sizes_px) == sorted(network.crop_sizes_px)
        assert all(size % network.stride == 0 for size in network.crop_sizes_px)

    def test_a_crop_does_not_depend_on_its_batch(self, network):
        image, coarse, others = make_batch(2 * network.stride)
        with torch.inference_mode():
            together = network(image, coarse, others).logits[1]
            alone = network(image[1:], coarse[1:], others[1:]).logits[0]
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)

    def test_every_weight_learns(self, network):
        network.train()
        network.zero_grad()
        image, coarse, others = make_batch(2 * network.stride)
        # A zero-initialised last layer hides the gradient of everything before it at first.
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        network(image, coarse, others).logits.square().mean().backward()
        network.eval()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


class TestVinokurov:
    def test_generator_and_discriminator_have_the_size_of_the_paper(self):
        assert round(count(VinokurovGenerator()) / 1e6, 2) == 16.65
        assert round(count(PatchGan()) / 1e6, 2) == 2.77

    def test_a_quarter_of_the_width_has_a_sixteenth_of_the_weights(self):
        narrow = build_refiner(*VARIANTS["vinokurov16"])
        assert 16 * count(narrow) == pytest.approx(count(VinokurovGenerator()), rel=0.01)

    def test_the_levels_have_the_shapes_of_figures_2_to_4(self):
        generator = VinokurovGenerator().eval()
        shapes = []
        for module in [*generator.down, *generator.up, generator.last]:
            module.register_forward_hook(lambda _, given, made: shapes.append((given[0].shape[1:], made.shape[1:])))
        with torch.inference_mode():
            out = generator(torch.ones(1, 1, 256, 256))
        assert out.shape == (1, 1, 256, 256)
        made = [(*m[:1], m[1]) for _, m in shapes]
        assert made[:5] == [(64, 128), (128, 64), (256, 32), (512, 16), (512, 8)]
        assert made[5:] == [(512, 16), (256, 32), (128, 64), (64, 128), (1, 256)]
        inputs = [(g[0], g[1]) for g, _ in shapes[5:]]
        assert inputs == [(512, 8), (1024, 16), (512, 32), (256, 64), (128, 128)]

    def test_the_output_is_a_mask_between_minus_one_and_one(self):
        generator = VinokurovGenerator()
        with torch.inference_mode():
            out = generator(torch.randn(1, 1, 64, 64).sign())
        assert out.min() >= -1 and out.max() <= 1

    def test_logits_and_tanh_are_the_same_mask(self):
        refiner = build_refiner("vinokurov").eval()
        image, coarse, others = make_batch(64)
        with torch.inference_mode():
            logits = refiner(image, coarse, others).logits
            paper = refiner.generator(torch.where(coarse >= 0.5, 1.0, -1.0))
        torch.testing.assert_close(2 * torch.sigmoid(logits) - 1, paper)

    def test_only_the_binarised_mask_counts(self):
        refiner = build_refiner("vinokurov").eval()
        image, coarse, others = make_batch(64)
        with torch.inference_mode():
            soft = refiner(image, coarse, others).logits
            hard = refiner(torch.zeros_like(image), (coarse >= 0.5).float(), others + 1).logits
        assert torch.equal(soft, hard)

    def test_the_discriminator_gives_30_by_30_logits_from_two_masks_of_256(self):
        with torch.inference_mode():
            judged = PatchGan()(torch.ones(1, 1, 256, 256), -torch.ones(1, 1, 256, 256))
        assert judged.shape == (1, 1, 30, 30)
        assert judged.min() < 0 or judged.max() > 1  # no sigmoid inside

    def test_a_patch_is_70_pixels_wide(self):
        judge = PatchGan(width=8).eval()
        mask = torch.zeros(1, 1, 256, 256, requires_grad=True)
        judge(torch.zeros_like(mask), mask)[0, 0, 15, 15].backward()
        seen = mask.grad[0, 0].abs().sum(dim=0).nonzero().flatten()
        assert int(seen.max() - seen.min()) + 1 == 70


class TestSegmentello:
    # Table 2 in MiB, which is weights and two moments of Adam, each float32: 12 bytes a weight.
    @pytest.mark.parametrize(
        "name,table_mib",
        [("tiny16-32", 1.40), ("res16-32", 1.40), ("tiny16-128", 22.34), ("res16-128", 22.34),
         ("res32-256", 88.97), ("attn32-256", 90.04)],
    )  # fmt: skip
    def test_the_widths_give_the_sizes_of_table_2(self, name, table_mib):
        weights_mib = 12 * count(build_refiner(*VARIANTS[name])) / 2**20
        assert weights_mib == pytest.approx(table_mib, rel=0.05)
        assert weights_mib < table_mib  # the file adds a little

    @pytest.mark.parametrize("name", ["res16-32", "attn32-256"])
    def test_residual_families_start_as_the_identity(self, name):
        network = build_refiner(*VARIANTS[name]).eval()
        image, coarse, others = make_batch(2 * network.stride, n=1)
        with torch.inference_mode():
            logits = network(image, coarse, others).logits
        assert torch.equal(logits >= 0, coarse >= 0.5)

    def test_shortcuts_pad_added_channels_and_add_pairs(self):
        x = torch.arange(4.0).view(1, 4, 1, 1)
        assert shortcut(x, 6).flatten().tolist() == [0, 1, 2, 3, 0, 0]
        assert shortcut(x, 2).flatten().tolist() == [0 + 2, 1 + 3]

    def test_unknown_families_and_widths_are_refused(self):
        with pytest.raises(ModelPackageError, match="Supported: plain, residual, attention"):
            build_refiner("segmentello", {"family": "dense"})
        with pytest.raises(ModelPackageError, match="power of two"):
            build_refiner("segmentello", {"narrow": 16, "wide": 48})


class TestGuided:
    def test_untrained_it_returns_its_input(self):
        image, coarse, others = make_batch(64)
        with torch.inference_mode():
            refined = build_refiner("guided").eval()(image, coarse, others)
        torch.testing.assert_close(refined.logits, 4 * (2 * coarse - 1))

    def test_it_has_less_than_a_tenth_of_the_weights_of_the_paper(self):
        assert count(build_refiner("guided")) < 0.1 * count(VinokurovGenerator())

    def test_it_looks_at_image_and_neighbours(self):
        torch.manual_seed(0)
        network = build_refiner("guided").eval()
        torch.nn.init.normal_(network.head.weight)
        image, coarse, others = make_batch(64)
        with torch.inference_mode():
            base = network(image, coarse, others).logits
            assert not torch.allclose(base, network(1 - image, coarse, others).logits)
            assert not torch.allclose(base, network(image, coarse, others + 1).logits)

    @pytest.mark.parametrize("channels,size", [(24, 64), (72, 16), (48, 32), (8, 5)])
    def test_its_normalisation_is_that_of_pytorch(self, channels, size):
        torch.manual_seed(0)
        ours, theirs = GroupNorm(channels // 8, channels), torch.nn.GroupNorm(channels // 8, channels)
        torch.nn.init.normal_(ours.weight)
        torch.nn.init.normal_(ours.bias)
        theirs.load_state_dict(ours.state_dict())
        exact = copy.deepcopy(theirs).double()
        x = torch.randn(2, channels, size, size).contiguous(memory_format=torch.channels_last)
        x[0, :8] = 3.0  # a group without any spread
        x[1] += 30
        with torch.inference_mode():
            torch.testing.assert_close(ours(x).double(), exact(x.double()), atol=5e-3, rtol=0)
        torch.testing.assert_close(ours(x.requires_grad_()), theirs(x))


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ModelPackageError, match="guided, vinokurov, segmentello"):
        build_refiner("sam")


class TestLosses:
    logits = torch.tensor([[[[0.0, math.log(3.0)], [-math.log(3.0), 0.0]]]])  # probabilities .5 .75 .25 .5
    truth = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    all_known = torch.ones(1, 1, 2, 2)

    def test_bce_by_hand(self):
        expected = (2 * math.log(2) - 2 * math.log(0.75)) / 4
        assert losses.bce_loss(self.logits, self.truth, self.all_known).item() == pytest.approx(expected)

    def test_dice_by_hand(self):
        expected = 1 - (2 * 1.25 + 1) / (2.0 + 2.0 + 1)
        assert losses.dice_loss(self.logits, self.truth, self.all_known).item() == pytest.approx(expected)

    def test_dice_of_two_empty_masks_is_zero(self):
        empty = torch.zeros(1, 1, 8, 8)
        assert losses.dice_loss(empty - 50, empty, empty + 1).item() == pytest.approx(0, abs=1e-6)

    def test_l1_is_measured_between_minus_one_and_one(self):
        expected = (1.0 + 0.5 + 0.5 + 1.0) / 4  # |2p - 1 - (2t - 1)|
        assert losses.l1_loss(self.logits, self.truth, self.all_known).item() == pytest.approx(expected)

    def test_the_boundary_loss_compares_sobel_magnitudes(self):
        truth = torch.zeros(1, 1, 6, 6)
        truth[..., 3:] = 1
        assert sobel_magnitude(truth)[0, 0, 3].tolist() == pytest.approx([0, 0, 1, 1, 0, 0], abs=1e-5)
        flat = torch.full((1, 1, 6, 6), -50.0)  # no edge anywhere: misses 2 of 6 columns of height 1
        loss = losses.boundary_loss(flat, truth, torch.ones_like(truth))
        assert loss.item() == pytest.approx(2 / 6, abs=1e-4)

    def test_the_papers_weights(self):
        args = (self.logits, self.truth, self.all_known)
        bce, dice, edge = losses.bce_loss(*args), losses.dice_loss(*args), losses.boundary_loss(*args)
        whole = losses.segmentello_loss(*args)
        assert whole.item() == pytest.approx((0.4 * bce + 0.4 * dice + 0.2 * edge).item())
        pair = losses.segmentello_loss(*args, terms=("bce", "dice"))
        assert pair.item() == pytest.approx((0.5 * bce + 0.5 * dice).item())
        assert losses.segmentello_loss(*args, terms=("boundary",)).item() == pytest.approx(edge.item())

    @pytest.mark.parametrize(
        "loss", [losses.bce_loss, losses.dice_loss, losses.l1_loss, losses.guided_loss, losses.segmentello_loss]
    )
    def test_unknown_pixels_carry_no_loss(self, loss):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(1, 1, 16, 16, generator=generator)
        truth = (torch.rand(1, 1, 16, 16, generator=generator) > 0.5).float()
        known = torch.ones_like(truth)
        known[..., 8:] = 0
        # Boundary terms see one pixel across the border of what is known.
        other = logits.clone()
        other[..., 9:] += 5
        assert loss(other, truth, known).item() == pytest.approx(loss(logits, truth, known).item(), rel=1e-5)
        assert loss(logits, truth, torch.zeros_like(known)).item() == pytest.approx(0, abs=1e-6)

    def test_the_band_lies_around_the_true_edge(self):
        truth = torch.zeros(1, 1, 5, 12)
        truth[..., 6:] = 1
        band = losses.boundary_band(truth, radius=2)
        assert band[0, 0, 2].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]

    def test_adversarial_losses_by_hand(self):
        zero = torch.zeros(1, 1, 30, 30)
        assert losses.discriminator_loss(zero, zero).item() == pytest.approx(math.log(2))
        assert losses.deception_loss(zero).item() == pytest.approx(math.log(2))
        assert losses.discriminator_loss(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-6)
        assert losses.deception_loss(zero - 50).item() == pytest.approx(50)
