"""Fitted estimators and pipelines of scikit-learn, LightGBM, XGBoost and CatBoost, on data that scikit-learn brings."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier


def _fitted(model: Any, data: Any = load_breast_cancer) -> Any:
    x, y = data(return_X_y=True)
    return model.fit(x.astype(np.float32), y)


def logistic() -> Any:
    return _fitted(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)))


def elastic_net() -> Any:
    return _fitted(make_pipeline(PolynomialFeatures(2), StandardScaler(), ElasticNet()), load_diabetes)


def ridge_classifier() -> Any:
    return _fitted(make_pipeline(MinMaxScaler(), RidgeClassifier()), load_wine)


def mlp_classifier() -> Any:
    return _fitted(make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=200, random_state=0)), load_digits)


def mlp_regressor() -> Any:
    return _fitted(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(64,), max_iter=300, random_state=0)),
        load_diabetes,
    )


def svc() -> Any:
    return _fitted(make_pipeline(StandardScaler(), SVC()), load_wine)


def linear_svc() -> Any:
    return _fitted(make_pipeline(StandardScaler(), LinearSVC()))


def naive_bayes() -> Any:
    return _fitted(GaussianNB(), load_wine)


def neighbors() -> Any:
    return _fitted(make_pipeline(StandardScaler(), KNeighborsClassifier()), load_digits)


def decision_tree() -> Any:
    return _fitted(DecisionTreeClassifier(random_state=0))


def random_forest() -> Any:
    return _fitted(RandomForestClassifier(60, random_state=0), load_digits)


def extra_trees() -> Any:
    return _fitted(ExtraTreesRegressor(30, random_state=0), load_diabetes)


def gradient_boosting() -> Any:
    return _fitted(GradientBoostingClassifier(n_estimators=50, random_state=0))


def hist_gradient_boosting() -> Any:
    return _fitted(HistGradientBoostingClassifier(max_iter=50), load_digits)


def isolation_forest() -> Any:
    return _fitted(IsolationForest(n_estimators=30, random_state=0))


def k_means() -> Any:
    return _fitted(make_pipeline(StandardScaler(), KMeans(8, n_init=2, random_state=0)), load_digits)


def pca() -> Any:
    return _fitted(make_pipeline(Normalizer(), PCA(12)), load_digits)


def voting() -> Any:
    members = [("lr", make_pipeline(StandardScaler(), LogisticRegression())), ("nb", GaussianNB())]
    return _fitted(VotingClassifier(members, voting="soft", flatten_transform=False), load_wine)


def stacking() -> Any:
    members = [("tree", DecisionTreeClassifier(max_depth=4)), ("nb", GaussianNB())]
    return _fitted(StackingClassifier(members, LogisticRegression()))


def columns() -> Any:
    import pandas

    generator = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "age": generator.normal(40, 12, 400),
            "income": generator.lognormal(10, 1, 400),
            "city": generator.choice(["Bern", "Oslo", "Rome"], 400),
            "job": generator.choice(["cook", "pilot", "nurse", "smith"], 400),
        }
    )
    label = (frame.age > 38) ^ (frame.city == "Rome")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    split = ColumnTransformer([("n", numbers, ["age", "income"]), ("c", OneHotEncoder(), ["city", "job"])])
    return make_pipeline(split, LogisticRegression()).fit(frame, label.astype(int))


def text() -> Any:
    words = ["good", "bad", "fine", "poor", "great", "awful", "film", "story", "music", "slow", "fast", "dull"]
    generator = np.random.default_rng(0)
    sentences = [" ".join(generator.choice(words, 6)) for _ in range(200)]
    labels = [int("good" in each or "great" in each) for each in sentences]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(sentences, labels)


def lightgbm_classifier() -> Any:
    from lightgbm import LGBMClassifier

    return _fitted(LGBMClassifier(n_estimators=40, verbose=-1), load_digits)


def lightgbm_booster() -> Any:
    import lightgbm

    x, y = load_diabetes(return_X_y=True)
    return lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(x, y), 40)


def lightgbm_pipeline() -> Any:
    from lightgbm import LGBMClassifier

    return _fitted(make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=30, verbose=-1)))


def xgboost_classifier() -> Any:
    from xgboost import XGBClassifier

    return _fitted(XGBClassifier(n_estimators=40), load_digits)


def xgboost_regressor() -> Any:
    from xgboost import XGBRegressor

    return _fitted(XGBRegressor(n_estimators=40), load_diabetes)


def xgboost_pipeline() -> Any:
    from xgboost import XGBClassifier

    return _fitted(make_pipeline(StandardScaler(), XGBClassifier(n_estimators=30)))


def catboost_classifier() -> Any:
    from catboost import CatBoostClassifier

    return _fitted(CatBoostClassifier(iterations=60, verbose=False, allow_writing_files=False))


def catboost_regressor() -> Any:
    from catboost import CatBoostRegressor

    return _fitted(CatBoostRegressor(iterations=60, verbose=False, allow_writing_files=False), load_diabetes)
