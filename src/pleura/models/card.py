"""The model card: a page of Markdown inside model.h5 that says what the model is."""

from pleura.models.bundle import Bundle
from pleura.models.zoo import count_parameters, stride


def write_card(bundle: Bundle) -> str:
    """Return a short model card for `bundle`, from what the bundle itself holds."""
    training, point, size = bundle.training, bundle.operating_point, bundle.preprocessing.size
    network = bundle.network
    begun = ", its encoder trained before on other pictures" if network.pretrained else ""
    return f"""# pleura {network.name}

Finds pneumothorax in frontal chest radiographs: a probability for each pixel, a mask, and a score
for the image. Not a medical device: for research and education, not for diagnosis.

- Network: {network.name}, width {network.width}, stride {stride(network)}, \
{count_parameters(network):,} parameters{begun}; input {size} x {size}.
- Trained on {training.get("images", "?")} radiographs, thresholds chosen on \
{training.get("validation_images", "?")} others (fold {training.get("train.fold", "?")} of \
{training.get("train.folds", "?")}); data fingerprint {str(training.get("fingerprint", "?"))[:16]}.
- Loss {training.get("train.loss", "?")}, {len(bundle.history.get("epoch", []))} epochs, \
{training.get("precision", "?")} on {training.get("device", "?")}.
- Operating point: score at least {point.score:.3f}, mask where the probability exceeds \
{point.mask:.2f}, smallest area {point.min_area:.3g} of the image.
- Limits: trained on the data above only; other machines, views, ages and encodings may fare worse,
  and nothing here measures how much. It knows no other disease.
"""
