from dataclasses import replace

from pleura.models import zoo
from pleura.models.bundle import Bundle, Preprocessing
from pleura.models.card import write_card


def test_the_card_tells_the_networks_size_and_how_it_began(case, small):
    network = small(case)
    bundle = Bundle(network, {}, Preprocessing(64, "x"))
    card = write_card(bundle)
    assert f"stride {zoo.stride(network)}, {zoo.count_parameters(network):,} parameters;" in card
    assert "trained before" not in card
    if zoo.NETWORKS[network.name].pretrained:
        begun = write_card(replace(bundle, network=replace(network, pretrained=True)))
        assert "parameters, its encoder trained before on other pictures; input 64 x 64" in begun
